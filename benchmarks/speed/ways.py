"""Ways to fill a machine with runs of a small batch, here and in PyTorch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import results
from benchmarks.experiments import Experiment
from benchmarks.speed import apart, lanes, rows, timing, updates
from benchmarks.tasks import DataSet

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
        place = lanes.data_of(data_dir, experiment.problem.data)
        for way in ways(subject, experiment.problem.load(place), place):
            key = {"network": network, "way": way.name, "runs": str(way.runs)}
            if any(row.items() >= key.items() for row in rows.read(folder / FILE)):
                continue
            print("ways:", *key.values(), flush=True)
            found = way.measure()
            rows.add(folder / FILE, key | {"batch_size": batch} | found)


def ways(subject: Subject, data_set: DataSet, place: Path | None) -> list[Way]:
    one = alone(subject.experiment, 1)
    cores = results.cores() or 1

    def processes(train: apart.Train) -> rows.Row:
        return cells(apart.speed(train, one, place, cores))

    def together(way: str, experiment: Experiment) -> list[Way]:
        return [
            Way(way, n, partial(lanes.speed, alone(experiment, n), data_set))
            for n in subject.counts
        ]

    found = together("lanes", subject.experiment)
    found.append(Way("processes", cores, lambda: processes(apart.in_jax)))
    if updates.has_torch():
        found += [
            Way("PyTorch", 1, lambda: eager(one, place)),
            Way("PyTorch, processes", cores, lambda: processes(apart.in_torch)),
        ]
    if subject.plain:
        found += together("lanes, plain convolutions", subject.plain)
    return found


def alone(experiment: Experiment, count: int) -> Experiment:
    return lanes.alone(experiment, experiment.optimizers[0], count)


def eager(one: Experiment, place: Path | None) -> rows.Row:
    call, examples = apart.in_torch(one, place)
    turns = timing.in_turns(call)
    return cells(timing.spread([examples / seconds for (seconds,) in turns]))


def cells(times: timing.Times) -> rows.Row:
    return UNKNOWN | timing.cells(lanes.MEASURES[0], times, digits=1)
