"""The experiments and all their numbers: a module a task."""

from benchmarks.experiments import gpu, images, pairs, text
from benchmarks.experiments.grid import THRESHOLDS, Experiment, log_grid, tiny

__all__ = ["EXPERIMENTS", "THRESHOLDS", "Experiment", "log_grid", "tiny"]

EXPERIMENTS = {
    experiment.name: experiment
    for module in (images, pairs, text, gpu)
    for experiment in module.EXPERIMENTS
}
