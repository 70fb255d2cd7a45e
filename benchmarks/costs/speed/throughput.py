"""Ways to fill a machine with runs of a small batch, here and in PyTorch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import measurements, timing
from benchmarks.costs.speed import parallel, replicas, updates
from benchmarks.experiments import Experiment
from benchmarks.experiments.speed import with_plain_convolutions
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.problem import DataSet

FILE = "ways.csv"
PLAIN = "lanes, plain convolutions"
STEP_BY_STEP = "processes, plain convolutions, a step a call"
GUESS = 60.0  # seconds of one, before it was timed
UNKNOWN = dict.fromkeys(replicas.MEASURES, "-")


class Subject(NamedTuple):
    """What is trained in every way.

    Attributes:
      experiment: the network.
      counts: of lanes.
      plain: of lanes with XLA's own convolutions.
    """

    experiment: Experiment
    counts: tuple[int, ...]
    plain: tuple[int, ...] = ()


class Way(NamedTuple):
    """A measurement: `measure` returns the cells named in `replicas.MEASURES`."""

    name: str
    runs: int
    measure: Callable[[], measurements.Row]


def run(
    folder: Path,
    subjects: tuple[Subject, ...],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Measure what is not measured yet; whether the deadline allowed all."""
    deadline.last.setdefault("way", GUESS)
    for subject in subjects:
        experiment = subject.experiment
        network, batch = experiment.name, str(experiment.batch_sizes[0])
        place = replicas.data_of(data_dir, experiment.problem.data)
        for way in ways(subject, experiment.problem.load(place), place):
            key = {"network": network, "way": way.name, "runs": str(way.runs)}
            if any(
                row.items() >= key.items() for row in measurements.read(folder / FILE)
            ):
                continue
            if not deadline.allows("way"):
                return False
            print("ways:", *key.values(), flush=True)
            with deadline.timing("way"):
                found = way.measure()
            measurements.add(folder / FILE, key | {"batch_size": batch} | found)
    return True


def ways(subject: Subject, data_set: DataSet, place: Path | None) -> list[Way]:
    one, many = alone(subject.experiment, 1), parallel.number()

    def together(name: str, experiment: Experiment, number: int) -> Way:
        def measure() -> measurements.Row:
            return replicas.speed(replicas.work(alone(experiment, number), data_set))

        return Way(name, number, measure)

    def processes(
        name: str, train: parallel.Train, one: Experiment, number: int
    ) -> Way:
        def measure() -> measurements.Row:
            times = parallel.speed(train, one, place, number)
            return UNKNOWN | timing.cells(replicas.MEASURES[0], times, digits=1)

        return Way(name, number, measure)

    found = [together("lanes", subject.experiment, n) for n in subject.counts]
    found.append(processes("processes", parallel.in_jax, one, many))
    if updates.has_torch():
        found.append(processes("PyTorch", parallel.in_torch, one, 1))
        found.append(processes("PyTorch, processes", parallel.in_torch, one, many))
    if subject.plain:
        plain = with_plain_convolutions(subject.experiment)
        step = replace(alone(plain, 1), part=1)
        found.append(processes(STEP_BY_STEP, parallel.in_jax, step, many))
        found += [together(PLAIN, plain, n) for n in subject.plain]
    return found


def alone(experiment: Experiment, count: int) -> Experiment:
    return replicas.alone(experiment, experiment.optimizers[0], count)
