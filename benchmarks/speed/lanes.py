"""Examples a second against the number of lanes that train together.

A lane is a seed of an experiment's first optimizer at its first learning rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import assemble, program, train
from benchmarks.checkpoint import Position
from benchmarks.deadline import Deadline
from benchmarks.experiments import Experiment
from benchmarks.speed import rows, timing
from benchmarks.tasks import DataSet

FILE = "lanes.csv"
PART = 25  # steps that are timed at once
GUESS = 90.0  # seconds of the first measurement, mostly to compile
FULL = "out of memory"
CIFAR10 = "cifar10-jpeg.tar.xz"
MEASURES = (
    "examples_a_second",
    "examples_a_second_low",
    "examples_a_second_high",
    "compile_seconds",
)


def run(
    folder: Path,
    experiment: Experiment,
    counts: Sequence[int],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Measure what is not measured yet; whether the deadline allowed all."""
    deadline.last.setdefault("measurement", GUESS)
    data_set = None
    for count in counts[len(of(experiment, rows.read(folder / FILE))) :]:
        if not all(map(fits, of(experiment, rows.read(folder / FILE)))):
            break
        if not deadline.allows("measurement", "measurement"):  # twice the lanes
            return False
        print(f"lanes: {experiment.name}, {count}", flush=True)
        data_set = data_set or experiment.problem.load(data_dir)
        with deadline.timing("measurement"):
            row = measure(experiment, data_set, count)
        rows.add(folder / FILE, row)
    return True


def data_of(folder: Path | None, name: str) -> Path | None:
    """Where a data set is in a folder of several: the archive of CIFAR-10, or there."""
    archive = folder and folder / CIFAR10
    if name == "cifar10" and archive and archive.is_file():
        return archive
    return folder


def of(experiment: Experiment, found: Sequence[rows.Row]) -> list[rows.Row]:
    return [row for row in found if row["experiment"] == experiment.name]


def fits(row: rows.Row) -> bool:
    """Whether so many lanes had room in the memory."""
    return row[MEASURES[0]] != FULL


def measure(experiment: Experiment, data_set: DataSet, count: int) -> rows.Row:
    """A row; of several batch sizes the first counts."""
    name = experiment.optimizers[0]
    one = alone(experiment, name, count)
    row = {
        "experiment": experiment.name,
        "optimizer": name,
        "batch_size": one.batch_sizes[0],
        "examples_an_epoch": experiment.problem.examples(data_set),
        "lanes": count,
    }
    try:
        measured = speed(one, data_set)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        measured = dict.fromkeys(MEASURES, FULL)
    return {key: str(value) for key, value in (row | measured).items()}


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
      call: trains a part of an epoch.
      steps: of a lane in a call.
      seconds: that it took to compile.
    """

    call: Callable[[], Any]
    steps: int
    seconds: float


def work(one: Experiment, data_set: DataSet) -> Work:
    """Of an experiment of one program."""
    (which,) = assemble.programs(one)
    score = program.make_score(one, data_set)
    built = program.build(one, data_set, which, Path(), Position(0, 0), score)

    def advance(lanes: dict[str, train.Lane]) -> tuple[dict[str, train.Lane]]:
        return (built.advance(lanes, 0, 0),)

    call = timing.repeated(advance, (built.lanes,))
    return Work(call, steps(one, data_set), built.seconds)


def steps(one: Experiment, data_set: DataSet) -> int:
    """Of a lane in the part of an epoch that is timed."""
    examples = one.problem.examples(data_set)
    return assemble.parts(one, examples, one.batch_sizes[0]).step


def speed(one: Experiment, data_set: DataSet) -> dict[str, str]:
    """Examples a second of all lanes, and the seconds to compile."""
    timed = work(one, data_set)
    examples = one.seeds * one.batch_sizes[0] * timed.steps
    turns = timing.in_turns(timed.call)
    found = timing.spread([examples / seconds for (seconds,) in turns])
    numbers = zip(MEASURES, (*found, timed.seconds), strict=True)
    return {key: f"{x:.1f}" for key, x in numbers}


def together(experiment: Experiment) -> int:
    """Lanes of one of its programs."""
    return experiment.lanes // len(assemble.programs(experiment))


def best(found: Sequence[rows.Row], experiment: Experiment) -> float | None:
    """Examples a second, of the number of lanes nearest to its programs' from below."""
    own = [
        float(row[MEASURES[0]])
        for row in of(experiment, found)
        if fits(row) and int(row["lanes"]) <= together(experiment)
    ]
    return own[-1] if own else None
