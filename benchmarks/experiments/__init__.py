"""The experiments and all their numbers, a module for each task.

The commands know the experiments in `EXPERIMENTS` of every module of this folder.
"""

import importlib
import pkgutil

from benchmarks.experiments.experiment import Experiment, log_grid, tiny

__all__ = ["EXPERIMENTS", "Experiment", "log_grid", "tiny"]

EXPERIMENTS: dict[str, Experiment] = {}
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    for _each in getattr(importlib.import_module(_module.name), "EXPERIMENTS", ()):
        if _each.name in EXPERIMENTS:
            raise ValueError(f"{_module.name}: there is an experiment {_each.name!r}.")
        EXPERIMENTS[_each.name] = _each
