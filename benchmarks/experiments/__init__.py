"""The experiments and all their numbers, a module for each task.

The commands know the experiments in `EXPERIMENTS` of every module of this folder.
"""

import importlib
import pkgutil

from benchmarks.experiments.experiment import Experiment, log_grid, tiny

__all__ = ["EXPERIMENTS", "Experiment", "log_grid", "tiny"]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in pkgutil.iter_modules(__path__, f"{__name__}.")
    for experiment in getattr(importlib.import_module(module.name), "EXPERIMENTS", ())
}
