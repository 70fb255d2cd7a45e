"""How many examples a second a machine trains with runs of a small batch.

The runs fill the machine as replicas of one program or as processes, in JAX and in
PyTorch.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Cell, Row
from benchmarks.costs.speed import processes, replicas, updates
from benchmarks.experiments import Experiment
from benchmarks.experiments.speed import with_plain_convolutions
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.problem import DataSet

FILE = "ways.csv"
XLA_CONVOLUTIONS = "lanes, plain convolutions"
STEP_BY_STEP = "processes, plain convolutions, a step a call"
GUESS = 60.0  # seconds of one, before it was timed
UNKNOWN = dict.fromkeys(replicas.MEASURES, "-")


class Subject(NamedTuple):
    """An experiment that is trained in every way.

    Attributes:
      experiment: gives the network.
      counts: numbers of replicas.
      plain: numbers of replicas with XLA's own convolutions.
    """

    experiment: Experiment
    counts: tuple[int, ...]
    plain: tuple[int, ...] = ()


def run(
    folder: Path,
    subjects: tuple[Subject, ...],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Measure what is not measured yet; return whether the deadline allowed all."""
    wanted = [cell for each in subjects for cell in cells(each, data_dir)]
    return measurements.complete(folder / FILE, wanted, deadline, guess=GUESS)


def cells(subject: Subject, data_dir: Path | None) -> list[Cell]:
    """Return a row to measure for each way to train a subject."""
    experiment, many = subject.experiment, processes.number()
    place = replicas.data_of(data_dir, experiment.problem.data)
    load = timing.once(partial(experiment.problem.load, place))

    def cell(way: str, runs: int, measure: Callable[[], Row]) -> Cell:
        key = {"network": experiment.name, "way": way, "runs": str(runs)}
        batch_size = {"batch_size": str(experiment.batch_sizes[0])}
        return Cell(key, lambda: lambda: batch_size | measure())

    def together(way: str, experiment: Experiment, runs: int) -> Cell:
        return cell(way, runs, partial(in_one_program, experiment, runs, load))

    def apart(
        way: str, train: processes.Train, runs: int, one: Experiment = experiment
    ) -> Cell:
        one = replicas.several(one, one.optimizers[0], 1)
        return cell(way, runs, partial(in_processes, train, one, place, runs))

    found = [together("lanes", experiment, n) for n in subject.counts]
    found.append(apart("processes", processes.in_jax, many))
    if updates.has_torch():
        found.append(apart("PyTorch", processes.in_torch, 1))
        found.append(apart("PyTorch, processes", processes.in_torch, many))
    if subject.plain:
        plain = with_plain_convolutions(experiment)
        step = replace(plain, part=1)
        found.append(apart(STEP_BY_STEP, processes.in_jax, many, step))
        found += [together(XLA_CONVOLUTIONS, plain, n) for n in subject.plain]
    return found


def in_one_program(
    experiment: Experiment, runs: int, load: Callable[[], DataSet]
) -> Row:
    """Return the speed of replicas that train in one program."""
    several = replicas.several(experiment, experiment.optimizers[0], runs)
    return replicas.speed(replicas.compile_training(several, load()))


def in_processes(
    train: processes.Train, one: Experiment, place: Path | None, runs: int
) -> Row:
    """Return the speed of runs that train in processes of their own."""
    times = processes.speed(train, one, place, runs)
    return UNKNOWN | timing.columns(replicas.SPEED, times, digits=1)
