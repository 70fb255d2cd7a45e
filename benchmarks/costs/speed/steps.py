"""A whole step, forward, backward and update, with and without an anchor."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.costs import timing
from benchmarks.costs.measurements import Cell, Measure, Row
from benchmarks.costs.speed import replicas, updates
from benchmarks.experiments import Experiment
from benchmarks.tasks.problem import DataSet

FILE = "steps.csv"


def cells(experiments: Sequence[Experiment], data_dir: Path | None) -> list[Cell]:
    """Return a row to measure for each experiment."""

    def ready(experiment: Experiment) -> Measure:
        place = replicas.data_of(data_dir, experiment.problem.data)
        return lambda: measure(experiment, experiment.problem.load(place))

    return [Cell({"network": each.name}, partial(ready, each)) for each in experiments]


def measure(experiment: Experiment, data_set: DataSet) -> Row:
    """Return milliseconds of a step of one run, and the paired ratio."""
    bare = experiment.optimizers[0]
    both = [
        replicas.compile_training(replicas.several(experiment, name, 1), data_set)
        for name in (bare, updates.OURS[bare])
    ]
    turns = timing.interleaved(*(work.start() for work in both))
    bare_ms, ours_ms = (
        timing.spread([1e3 * turn[i] / both[i].steps for turn in turns]) for i in (0, 1)
    )
    return {
        "batch_size": str(experiment.batch_sizes[0]),
        "bare": bare,
        "ours": updates.OURS[bare],
        **timing.columns("bare_ms", bare_ms),
        **timing.columns("ours_ms", ours_ms),
        **timing.columns("ratio", timing.ratio(turns, 1, 0)),
    }
