"""Ways to convolve lanes, timed on what is trained; the fastest one trains it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import results
from benchmarks.deadline import Deadline
from benchmarks.experiments import Experiment
from benchmarks.speed import lanes, rows, timing
from benchmarks.tasks import DataSet
from benchmarks.tasks.classify import Images

FILE = "convolutions.csv"
FAILED = "failed"
GUESS = 20.0  # seconds to compile one beside others
MEASUREMENT = 5.0  # seconds, before one was timed

NETWORKS = {
    "in place": "resnet18, convolutions in place",
    "XLA's own": "resnet18, plain convolutions",
    "patches": "resnet18",
}
"""Ways to convolve; the last one is taken where none was timed."""

Cells = Sequence[tuple[str, int]]
"""Ways with numbers of seeds."""

CELLS: Cells = tuple((way, 3) for way in NETWORKS)


def run(
    folder: Path,
    experiment: Experiment,
    cells: Cells,
    networks: Mapping[str, str],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Time the cells that were not yet; whether the deadline allowed all.

    A cell is the very program that trains so many seeds of the experiment, so that it
    is compiled when they are trained. All that is left is compiled first, side by side.
    """
    done = {(row["convolution"], row["seeds"]) for row in rows.read(folder / FILE)}
    left = [(way, seeds) for way, seeds in cells if (way, str(seeds)) not in done]
    deadline.last.setdefault("compile", GUESS * len(left))
    deadline.last.setdefault("measurement", MEASUREMENT)
    if not left:
        return True
    if not deadline.allows("compile", "measurement"):
        return False
    problem = experiment.problem
    data_set = problem.load(lanes.data_of(data_dir, problem.data))
    with deadline.timing("compile"):
        works = timing.in_threads(
            [
                partial(ready, some(experiment, seeds, networks[way]), data_set)
                for way, seeds in left
            ]
        )
    origin = results.environment()
    for (way, seeds), work in zip(left, works, strict=True):
        if not deadline.allows("measurement"):
            return False
        print(f"convolutions: {way}, {seeds} seeds", flush=True)
        with deadline.timing("measurement"):
            found = {
                "experiment": experiment.name,
                "convolution": way,
                "seeds": str(seeds),
                "lanes": str(seeds * experiment.lanes // experiment.seeds),
                "examples_an_epoch": str(problem.examples(data_set)),
                **measured(work),
                "device": origin["device"]["kind"],
                "git_commit": str(origin["git_commit"]),
                "date": origin["date"],
            }
        rows.add(folder / FILE, found)
    return True


def some(
    experiment: Experiment, seeds: int, network: str, first: int = 0
) -> Experiment:
    """So many of an experiment's seeds, with a network."""
    problem = experiment.problem
    assert isinstance(problem, Images)
    return replace(
        experiment,
        seeds=seeds,
        first_seed=first,
        problem=replace(problem, network=network),
    )


def ready(one: Experiment, data_set: DataSet) -> lanes.Work:
    """Training that can be timed; its start and its evaluation are compiled too."""
    built = lanes.build(one, data_set)
    started, name = built.start(), one.optimizers[0]
    for split in (data_set.validation, data_set.test):
        built.evaluate(name, started[name], split)
    return lanes.timed(one, data_set, built)


def measured(work: Future[lanes.Work]) -> rows.Row:
    """The speed of a program; what a GPU cannot compile or hold has none."""
    try:
        return lanes.speed(work.result())
    except Exception as error:  # whatever a compiler raises: the others go on
        print(error, flush=True)
        return dict.fromkeys(lanes.MEASURES, FAILED)


def fastest(found: Sequence[rows.Row]) -> str | None:
    """The way with the most examples a second, of those with as many seeds."""
    compared = [row for row in of_speed(found) if row["seeds"] == found[0]["seeds"]]
    if not compared:
        return None
    best = max(compared, key=lambda row: float(row[lanes.MEASURES[0]]))
    return best["convolution"]


def of_speed(found: Sequence[rows.Row]) -> list[rows.Row]:
    """The rows that hold one."""
    return [row for row in found if row[lanes.MEASURES[0]] != FAILED]


def speed(found: Sequence[rows.Row], way: str, seeds: int) -> float | None:
    """Examples a second of so many seeds, from the measured number nearest to it.

    Fewer seeds than were measured take as many seconds a step, at most.
    """
    own = {
        int(row["seeds"]): float(row[lanes.MEASURES[0]])
        for row in of_speed(found)
        if row["convolution"] == way
    }
    if not own:
        return None
    nearest = min(own, key=lambda n: (abs(n - seeds), n))
    return own[nearest] * min(1.0, seeds / nearest)
