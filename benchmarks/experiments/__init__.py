"""The experiments and all their numbers: a module a task."""

from benchmarks.experiments import gpu, images, pairs, text
from benchmarks.experiments.grid import THRESHOLDS, Experiment, log_grid, tiny

__all__ = ["EXPERIMENTS", "THRESHOLDS", "Experiment", "log_grid", "tiny"]

EXPERIMENTS = {
    experiment.name: experiment
    for part in (*(x.EXPERIMENTS for x in (images, pairs, text, gpu)), gpu.POOLED)
    for experiment in part
}
