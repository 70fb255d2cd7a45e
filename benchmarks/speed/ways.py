"""Ways to fill a machine with runs of a small batch, and one run in PyTorch."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.experiments import Experiment
from benchmarks.speed import apart, lanes, rows, timing

FILE = "ways.csv"
UNKNOWN = dict.fromkeys(lanes.MEASURES, "-")


class Subject(NamedTuple):
    """What is trained in every way.

    Attributes:
      experiment: the network.
      counts: of lanes.
      plain: the same with XLA's own convolutions.
    """

    experiment: Experiment
    counts: tuple[int, ...]
    plain: Experiment | None = None


class Way(NamedTuple):
    """A measurement: `measure` returns the cells named in `lanes.MEASURES`."""

    name: str
    runs: int
    measure: Callable[[], rows.Row]


def run(folder: Path, subjects: tuple[Subject, ...], data_dir: Path | None) -> None:
    """Measure what is not measured yet."""
    for subject in subjects:
        experiment = subject.experiment
        network, batch = experiment.name, str(experiment.batch_sizes[0])
        for way in ways(subject, data_dir):
            key = {"network": network, "way": way.name, "runs": str(way.runs)}
            if any(row.items() >= key.items() for row in rows.read(folder / FILE)):
                continue
            print("ways:", *key.values(), flush=True)
            found = way.measure()
            rows.add(folder / FILE, key | {"batch_size": batch} | found)


def ways(subject: Subject, data_dir: Path | None) -> list[Way]:
    experiment, name = subject.experiment, subject.experiment.optimizers[0]
    written = {"lanes": experiment}
    if subject.plain:
        written["lanes, plain convolutions"] = subject.plain

    def together(experiment: Experiment, count: int) -> rows.Row:
        one = lanes.alone(experiment, name, count)
        return lanes.speed(one, experiment.problem.load(place))

    place = lanes.data_of(data_dir, experiment.problem.data)
    one, cores = lanes.alone(experiment, name, 1), sorted(os.sched_getaffinity(0))
    return [
        *(
            Way(way, count, partial(together, each, count))
            for way, each in written.items()
            for count in subject.counts
        ),
        Way("processes", len(cores), lambda: cells(apart.speed(one, place, cores))),
        Way("PyTorch", 1, partial(eager, one)),
    ]


def eager(one: Experiment) -> rows.Row:
    """Nothing where PyTorch is not installed."""
    try:
        from benchmarks.speed import eager_training
    except ModuleNotFoundError:
        return UNKNOWN
    steps = one.part or lanes.PART
    call = eager_training.training(one, steps)
    turns = timing.in_turns(call)
    examples = steps * one.batch_sizes[0]
    return cells(timing.spread([examples / seconds for (seconds,) in turns]))


def cells(times: timing.Times) -> rows.Row:
    return UNKNOWN | timing.cells(lanes.MEASURES[0], times, digits=1)
