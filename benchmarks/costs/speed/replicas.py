"""Examples a second against the number of lanes that train together.

A lane is a seed of an experiment's first optimizer at its first learning rate.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.costs import measurements, timing
from benchmarks.experiments import Experiment
from benchmarks.runs import grid, program
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop

FILE = "lanes.csv"
PART = 25  # steps that are timed at once, at most
GUESS = 10.0  # seconds to compile one beside others, or to time it
FULL = "out of memory"
CIFAR10 = "cifar10-jpeg.tar.xz"
MEASURES = (
    "examples_a_second",
    "examples_a_second_low",
    "examples_a_second_high",
    "compile_seconds",
)


Cell = tuple[Experiment, int]
"""An experiment and a number of lanes."""


def run(
    folder: Path, cells: Sequence[Cell], data_dir: Path | None, deadline: Deadline
) -> bool:
    """Measure what is not measured yet; whether the deadline allowed all.

    All that is left is compiled first, side by side. The counts of an experiment stand
    in `cells` from the least to the most.
    """
    found = measurements.read(folder / FILE)
    left = [cell for cell in cells if not is_decided(cell, found)]
    deadline.last.setdefault("compile", GUESS * len(left))
    deadline.last.setdefault("measurement", GUESS)
    if left and not deadline.allows("compile", "measurement"):
        return False
    with deadline.timing("compile"):
        works = compile_all(left, data_dir)
    for cell, compiled in zip(left, works, strict=True):
        if is_decided(cell, measurements.read(folder / FILE)):
            continue
        if not deadline.allows("measurement"):
            return False
        experiment, count = cell
        print(f"lanes: {experiment.name}, {count}", flush=True)
        with deadline.timing("measurement"):
            row = measure(experiment, count, compiled.result)
        measurements.add(folder / FILE, row)
    return True


def is_decided(cell: Cell, found: Sequence[measurements.Row]) -> bool:
    """Whether it was measured, or fewer lanes had no room."""
    experiment, count = cell
    own = of(experiment, found)
    return not all(map(fits, own)) or str(count) in [row["lanes"] for row in own]


def compile_all(cells: Sequence[Cell], data_dir: Path | None) -> list[Future["Work"]]:
    problems = {experiment.problem for experiment, _ in cells}
    data_sets = {each: each.load(data_of(data_dir, each.data)) for each in problems}
    return timing.in_threads(
        [
            partial(work, alone(each, each.optimizers[0], n), data_sets[each.problem])
            for each, n in cells
        ]
    )


def data_of(folder: Path | None, name: str) -> Path | None:
    """Where a data set is in a folder of several: the archive of CIFAR-10, or there."""
    archive = folder and folder / CIFAR10
    if name == "cifar10" and archive and archive.is_file():
        return archive
    return folder


def of(
    experiment: Experiment, found: Sequence[measurements.Row]
) -> list[measurements.Row]:
    return [row for row in found if row["experiment"] == experiment.name]


def fits(row: measurements.Row) -> bool:
    """Whether so many lanes had room in the memory."""
    return row[MEASURES[0]] != FULL


def measure(
    experiment: Experiment, count: int, compiled: Callable[[], "Work"]
) -> measurements.Row:
    """A row; of several batch sizes the first counts."""
    row = {
        "experiment": experiment.name,
        "optimizer": experiment.optimizers[0],
        "batch_size": str(experiment.batch_sizes[0]),
        "lanes": str(count),
    }
    work = compiled()
    row["examples_an_epoch"] = str(work.epoch)
    try:
        return row | speed(work)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return row | dict.fromkeys(MEASURES, FULL)


def alone(experiment: Experiment, optimizer: str, seeds: int) -> Experiment:
    """So many lanes of one optimizer at its first rate, in short parts."""
    return replace(
        experiment,
        groups=(("", (optimizer,)),),
        learning_rates=experiment.learning_rates[:1],
        batch_sizes=experiment.batch_sizes[:1],
        seeds=seeds,
        part=min(experiment.part or PART, PART),
    )


class Work(NamedTuple):
    """Training that can be timed.

    Attributes:
      start: makes the lanes; what it returns trains some steps of an epoch.
      examples: of all lanes in a call.
      epoch: examples of a lane in an epoch.
      steps: of a lane in a call.
      seconds: that it took to compile.
    """

    start: timing.Start
    examples: int
    epoch: int
    steps: int
    seconds: float


def work(one: Experiment, data_set: DataSet) -> Work:
    """Of an experiment of one program."""
    return timed(one, data_set, build(one, data_set))


def build(one: Experiment, data_set: DataSet) -> program.Built:
    """The one program of an experiment, at its start."""
    (which,) = grid.programs(one)
    score = program.make_score(one, data_set)
    return program.build(one, data_set, which, Path(), Position(0, 0), score)


def timed(one: Experiment, data_set: DataSet, built: program.Built) -> Work:
    """Some steps of a program."""
    firsts = parts(one, data_set)

    def advance(lanes: dict[str, loop.Lane]) -> tuple[dict[str, loop.Lane]]:
        for first in firsts:
            lanes = built.advance(lanes, 0, first)
        return (lanes,)

    def start() -> Callable[[], Any]:
        return timing.repeated(advance, (built.start(),))

    count, epoch = steps(one, data_set), one.problem.examples(data_set)
    examples = one.lanes * one.batch_sizes[0] * count
    return Work(start, examples, epoch, count, built.seconds)


def parts(one: Experiment, data_set: DataSet) -> range:
    """The first steps of the parts of an epoch that are timed at once."""
    examples = one.problem.examples(data_set)
    all_parts = grid.parts(one, examples, one.batch_sizes[0])
    return all_parts[: max(1, PART // all_parts.step)]


def steps(one: Experiment, data_set: DataSet) -> int:
    """Of a lane in the parts that are timed at once."""
    timed = parts(one, data_set)
    return len(timed) * timed.step


def speed(work: Work) -> measurements.Row:
    """Examples a second of all lanes, and the seconds to compile."""
    turns = timing.in_turns(work.start())
    found = timing.spread([work.examples / seconds for (seconds,) in turns])
    numbers = zip(MEASURES, (*found, work.seconds), strict=True)
    return {key: f"{x:.1f}" for key, x in numbers}


def together(experiment: Experiment) -> int:
    """Lanes of one of its programs."""
    return experiment.lanes // len(grid.programs(experiment))


def best(found: Sequence[measurements.Row], experiment: Experiment) -> float | None:
    """Examples a second, of the number of lanes nearest to its programs' from below."""
    own = [
        float(row[MEASURES[0]])
        for row in of(experiment, found)
        if fits(row) and int(row["lanes"]) <= together(experiment)
    ]
    return own[-1] if own else None
