"""Examples a second against the number of lanes that train together.

A lane is a seed of an experiment's first optimizer at its first learning rate.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from benchmarks import assemble, program, train
from benchmarks.assemble import Program
from benchmarks.checkpoint import Position
from benchmarks.deadline import Deadline
from benchmarks.experiments import Experiment
from benchmarks.gpu import rows, timing
from benchmarks.tasks import DataSet

FILE = "lanes.csv"
PART = 25  # steps that are timed at once
GUESS = 90.0  # seconds of the first measurement, mostly to compile
FULL = "out of memory"
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


def of(experiment: Experiment, found: Sequence[rows.Row]) -> list[rows.Row]:
    return [row for row in found if row["experiment"] == experiment.name]


def fits(row: rows.Row) -> bool:
    """Whether so many lanes had room in the memory."""
    return row[MEASURES[0]] != FULL


def measure(experiment: Experiment, data_set: DataSet, count: int) -> rows.Row:
    """A row; of several batch sizes the first counts."""
    name = experiment.optimizers[0]
    one = replace(
        experiment,
        groups=(("", (name,)),),
        learning_rates=experiment.learning_rates[:1],
        seeds=count,
        part=PART,
    )
    which, *_ = assemble.programs(one)
    examples = experiment.problem.examples(data_set)
    row = {
        "experiment": experiment.name,
        "optimizer": name,
        "batch_size": which.batch_size,
        "examples_an_epoch": examples,
        "lanes": count,
    }
    try:
        measured = speed(one, data_set, which)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        measured = dict.fromkeys(MEASURES, FULL)
    return {key: str(value) for key, value in (row | measured).items()}


def speed(one: Experiment, data_set: DataSet, which: Program) -> dict[str, str]:
    """Examples a second of all lanes, and the seconds to compile."""
    score = program.make_score(one, data_set)
    built = program.build(one, data_set, which, Path(), Position(0, 0), score)

    def advance(lanes: dict[str, train.Lane]) -> tuple[dict[str, train.Lane]]:
        return (built.advance(lanes, 0, 0),)

    turns = timing.in_turns(timing.repeated(advance, (built.lanes,)))
    part = assemble.parts(one, one.problem.examples(data_set), which.batch_size).step
    examples = one.seeds * which.batch_size * part
    found = timing.spread([examples / seconds for (seconds,) in turns])
    numbers = zip(MEASURES, (*found, built.seconds), strict=True)
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
