"""A whole step, forward, backward and update, with and without an anchor."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.costs import measurements, timing
from benchmarks.costs.speed import replicas, updates
from benchmarks.experiments import Experiment
from benchmarks.tasks.problem import DataSet

FILE = "steps.csv"


def run(folder: Path, experiments: Sequence[Experiment], data_dir: Path | None) -> None:
    """Measure what is not measured yet."""
    done = {row["network"] for row in measurements.read(folder / FILE)}
    for experiment in experiments:
        if experiment.name not in done:
            print(f"steps: {experiment.name}", flush=True)
            place = replicas.data_of(data_dir, experiment.problem.data)
            found = measure(experiment, experiment.problem.load(place))
            measurements.add(folder / FILE, {"network": experiment.name} | found)


def measure(experiment: Experiment, data_set: DataSet) -> measurements.Row:
    """Milliseconds of a step of one lane, and the paired ratio."""
    bare = experiment.optimizers[0]
    both = [
        replicas.work(replicas.alone(experiment, name, 1), data_set)
        for name in (bare, updates.OURS[bare])
    ]
    turns = timing.in_turns(*(work.start() for work in both))
    bare_ms, ours_ms = (
        timing.spread([1e3 * turn[i] / both[i].steps for turn in turns]) for i in (0, 1)
    )
    return {
        "batch_size": str(experiment.batch_sizes[0]),
        "bare": bare,
        "ours": updates.OURS[bare],
        **timing.cells("bare_ms", bare_ms),
        **timing.cells("ours_ms", ours_ms),
        **timing.cells("ratio", timing.ratio(turns, 1, 0)),
    }
