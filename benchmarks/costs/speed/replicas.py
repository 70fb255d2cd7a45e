"""Examples a second against the number of replicas that train together.

A replica is a seed of an experiment's first optimizer at its first learning rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Cell, Row
from benchmarks.experiments import Experiment
from benchmarks.runs import grid, placement, program
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.problem import DataSet, Problem
from benchmarks.training import loop

FILE = "lanes.csv"
PART = 25  # steps that are timed at once, at most
GUESS = 10.0  # seconds to compile one beside others, or to time it
FULL = "out of memory"
CIFAR10 = "cifar10-jpeg.tar.xz"
SPEED = "examples_a_second"
MEASURES = (SPEED, f"{SPEED}_low", f"{SPEED}_high", "compile_seconds")

Counts = Sequence[tuple[Experiment, Sequence[int]]]
"""Experiments with numbers of replicas, from the least to the most."""


def run(
    folder: Path, counts: Counts, data_dir: Path | None, deadline: Deadline
) -> bool:
    """Measure what is not measured yet; return whether the deadline allowed all."""
    return measurements.complete(
        folder / FILE,
        cells(counts, data_dir),
        deadline,
        compile_guess=GUESS,
        guess=GUESS,
        is_decided=is_decided,
    )


def cells(counts: Counts, data_dir: Path | None) -> list[Cell]:
    """Return a row to measure for each experiment and number of replicas."""
    found: list[Cell] = []
    loaded: dict[Problem, Callable[[], DataSet]] = {}
    for experiment, several in counts:
        problem = experiment.problem
        place = data_of(data_dir, problem.data)
        load = loaded.setdefault(problem, timing.once(partial(problem.load, place)))
        for count in several:
            compiled = partial(ready, experiment, count, load)
            found.append(Cell(key(experiment, count), compiled))
    return found


def key(experiment: Experiment, count: int) -> Row:
    """Return the columns that say what is measured: the first batch size counts."""
    return {
        "experiment": experiment.name,
        "optimizer": experiment.optimizers[0],
        "batch_size": str(experiment.batch_sizes[0]),
        "lanes": str(count),
    }


def is_decided(wanted: Row, found: Sequence[Row]) -> bool:
    """Return whether a number was measured, or fewer replicas had no room."""
    own = [row for row in found if row["experiment"] == wanted["experiment"]]
    return not all(map(fits, own)) or measurements.is_measured(wanted, own)


def fits(row: Row) -> bool:
    """Return whether so many replicas had room in the memory."""
    return row[SPEED] != FULL


def of(experiment: Experiment, found: Sequence[Row]) -> list[Row]:
    """Return the rows of an experiment."""
    return [row for row in found if row["experiment"] == experiment.name]


def ready(
    experiment: Experiment, count: int, load: Callable[[], DataSet]
) -> measurements.Measure:
    """Compile the training of so many replicas; return what measures its speed."""
    one = several(experiment, experiment.optimizers[0], count)
    work = compile_training(one, load())

    def measure() -> Row:
        epoch = {"examples_an_epoch": str(work.epoch)}
        try:
            return epoch | speed(work)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return epoch | dict.fromkeys(MEASURES, FULL)

    return measure


def data_of(folder: Path | None, name: str) -> Path | None:
    """Return where a data set is in a folder of several: an archive, or the folder."""
    archive = folder and folder / CIFAR10
    if name == "cifar10" and archive and archive.is_file():
        return archive
    return folder


def several(experiment: Experiment, optimizer: str, seeds: int) -> Experiment:
    """Return an experiment of one optimizer at its first rate, in short parts."""
    return replace(
        experiment,
        groups=(("", (optimizer,)),),
        learning_rates=experiment.learning_rates[:1],
        batch_sizes=experiment.batch_sizes[:1],
        seeds=seeds,
        part=min(experiment.part or PART, PART),
    )


class Training(NamedTuple):
    """Training that can be timed.

    Attributes:
      start: allocates the replicas; what it returns trains some steps of an epoch.
      examples: of all replicas in a call.
      epoch: examples of a replica in an epoch.
      steps: of a replica in a call.
      seconds: that compiling took.
    """

    start: timing.Start
    examples: int
    epoch: int
    steps: int
    seconds: float


def compile_training(one: Experiment, data_set: DataSet) -> Training:
    """Compile an experiment of one program, to be timed."""
    return timed(one, data_set, build(one, data_set))


def build(one: Experiment, data_set: DataSet) -> program.Built:
    """Compile the one program of an experiment, for one device."""
    (which,) = grid.programs(one)
    return program.build(one, data_set, which, placement.on_one_device(one))


def timed(one: Experiment, data_set: DataSet, built: program.Built) -> Training:
    """Return some steps of a compiled program, to be timed."""
    firsts = timed_parts(one, data_set)

    def advance(lanes: list[loop.Lanes]) -> tuple[list[loop.Lanes]]:
        for first in firsts:
            lanes = built.advance(lanes, 0, first)
        return (lanes,)

    def start() -> Callable[[], Any]:
        return timing.repeated(advance, (built.start(),))

    count, epoch = timed_steps(one, data_set), one.problem.examples(data_set)
    examples = one.runs * one.batch_sizes[0] * count
    return Training(start, examples, epoch, count, built.seconds)


def timed_parts(one: Experiment, data_set: DataSet) -> range:
    """Return the first steps of the parts of an epoch that are timed at once."""
    examples = one.problem.examples(data_set)
    all_parts = grid.parts(one, examples, one.batch_sizes[0])
    return all_parts[: max(1, PART // all_parts.step)]


def timed_steps(one: Experiment, data_set: DataSet) -> int:
    """Return the steps of a replica in the parts that are timed at once."""
    firsts = timed_parts(one, data_set)
    return len(firsts) * firsts.step


def speed(work: Training) -> Row:
    """Return examples a second of all replicas, and the seconds to compile."""
    turns = timing.interleaved(work.start())
    found = timing.spread([work.examples / seconds for (seconds,) in turns])
    numbers = zip(MEASURES, (*found, work.seconds), strict=True)
    return {name: f"{x:.1f}" for name, x in numbers}


def together(experiment: Experiment) -> int:
    """Return the number of runs in one of an experiment's programs."""
    return experiment.runs // len(grid.programs(experiment))


def best(found: Sequence[Row], experiment: Experiment) -> float | None:
    """Return the measured speed of as many replicas as run together, or of fewer."""
    own = [
        float(row[SPEED])
        for row in of(experiment, found)
        if fits(row) and int(row["lanes"]) <= together(experiment)
    ]
    return own[-1] if own else None
