"""Training of a pooled experiment on one GPU, some seeds at a time."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.costs import measurements
from benchmarks.costs.gpu import convolutions
from benchmarks.costs.measurements import Row
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.records import files, pooled
from benchmarks.records.pooled import Part
from benchmarks.runs import checkpoint, grid
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare

EVALUATING = 1.15  # seconds of a run over those of its training, about
GUESS = 90.0  # seconds to compile what was not timed
TRACED = 30.0  # seconds to trace and start, without compiling

COMMITTED = Path(__file__).parents[2] / "results"
"""The parts of earlier calls; a call trains the seeds that are not there."""


class Ways(NamedTuple):
    """The ways to convolve that a plan may take, and the sizes of its parts.

    Attributes:
      named: all ways; the last is for a device that timed none.
      first: names of those that are timed first.
      later: names of those that are timed after the first part.
      sizes: numbers of seeds that a part may have, increasing.
      again: seconds of another call on this machine, in which a part may go on.
    """

    named: Mapping[str, convolutions.Way] = convolutions.WAYS
    first: tuple[str, ...] = convolutions.FIRST
    later: tuple[str, ...] = convolutions.LATER
    sizes: tuple[int, ...] = (1, 2, 3)
    again: float = 0.0


class Call(NamedTuple):
    """A call of a plan.

    Attributes:
      folder: of the plan; the parts of an experiment lie in a folder with its name.
      command: for the meta data.
      data_dir: a folder with the data sets.
      ways: to convolve.
      timed: the name of the experiment that they were timed on.
      at: the moment by which to stop, on the clock of `time.monotonic`.
    """

    folder: Path
    command: str
    data_dir: Path | None
    ways: Ways
    timed: str
    at: float


def train_all(experiment: Experiment, call: Call) -> bool:
    """Train parts while they fit; return whether what follows may begin."""
    own = call.folder / experiment.name
    before: list[int] = []
    while (left := unseen(experiment, own)) and left != before:
        if not train_next(experiment, call):
            return False
        before = left
    return True


def train_next(experiment: Experiment, call: Call) -> bool:
    """Train the next part, if any is left and fits into a call's minutes.

    Returns:
      Whether what follows may begin: the part is finished, or did not fit.
    """
    own = call.folder / experiment.name
    left = unseen(experiment, own)
    if not left:
        return True
    rows = measurements.read(call.folder / convolutions.FILE)
    found = [row for row in rows if row["experiment"] == call.timed]
    chosen = interrupted(own) or fresh(experiment, call, found, left)
    if chosen is None:
        return True
    part, network = chosen
    some = convolutions.some(experiment, part.seeds, network, part.first)
    guessed = guesses(some, call.ways, found)
    return train(some, own / part.folder, call, guessed)


def train(
    experiment: Experiment, folder: Path, call: Call, guessed: Mapping[str, float]
) -> bool:
    """Train a run, or go on with it, until the moment of a call.

    Returns:
      Whether the run is finished.
    """
    run = prepare(
        experiment,
        call.command,
        folder,
        resume=checkpoint.is_unfinished(folder),
        data_dir=replicas.data_of(call.data_dir, experiment.problem.data),
    )
    return execute(run, Deadline(call.at, guessed), jax.local_devices()[:1])


def unseen(experiment: Experiment, own: Path) -> list[int]:
    """Return the seeds of no finished part, here or among the committed results."""
    seen = {
        part.first + k
        for folder in (own, COMMITTED / experiment.name)
        for part in pooled.finished_parts(folder)
        for k in range(part.seeds)
    }
    return [seed for seed in range(experiment.seeds) if seed not in seen]


def interrupted(own: Path) -> tuple[Part, str] | None:
    """Return a part that a deadline stopped, with its network; None if none was."""
    unfinished = [
        x for x in pooled.begun_parts(own) if x not in pooled.finished_parts(own)
    ]
    for part in unfinished:
        if network := network_of(own / part.folder):
            return part, network
    return None


def network_of(folder: Path) -> str | None:
    """Return the network of a run that was begun in a folder; None if none was."""
    path = folder / checkpoint.FOLDER / checkpoint.RUN
    if not path.is_file():
        return None
    network: str = files.read_json(path)["experiment"]["network"]
    return network


def fresh(
    experiment: Experiment, call: Call, found: Sequence[Row], left: Sequence[int]
) -> tuple[Part, str] | None:
    """Return a new part and its network: as many of the first seeds as end in time.

    None, said in a line, if not even the smallest part would end.
    """
    way, end = fastest(call.ways, found), call.at + call.ways.again
    following = sum(seed == left[0] + k for k, seed in enumerate(left))
    sizes = [n for n in call.ways.sizes if n <= following]
    needed = {n: estimated_seconds(experiment, found, way, n) for n in sizes}
    within = [n for n in sizes if time.monotonic() + needed[n] < end]
    if not within:
        minutes = needed[sizes[0]] / 60
        print(f"{experiment.name}: left out, {minutes:.0f} minutes a part", flush=True)
        return None
    return Part(left[0], max(within)), call.ways.named[way].network


def fastest(ways: Ways, found: Sequence[Row]) -> str:
    """Choose the way to convolve that trains on this device."""
    return convolutions.fastest(found) or list(ways.named)[-1]


def estimated_seconds(
    experiment: Experiment, found: Sequence[Row], way: str, seeds: int
) -> float:
    """Estimate the seconds of a part from the measured speed; 0 without one."""
    speed = convolutions.estimated_speed(found, way, seeds)
    if speed is None:
        return 0.0
    examples = int(found[0]["examples_an_epoch"]) * experiment.epochs
    together = experiment.runs // experiment.seeds * seeds
    return (
        compiling(experiment, found, way, seeds)
        + EVALUATING * together * examples / speed
    )


def compiling(
    experiment: Experiment, found: Sequence[Row], way: str, seeds: int
) -> float:
    """Estimate the seconds until a part trains: what was timed is compiled."""
    wanted = {"convolution": way, "experiment": experiment.name, "seeds": str(seeds)}
    if measurements.is_measured(wanted, found):
        return TRACED
    own = [row for row in convolutions.of_speed(found) if row["convolution"] == way]
    return TRACED + max(float(row["compile_seconds"]) for row in own)


def guesses(some: Experiment, ways: Ways, found: Sequence[Row]) -> Mapping[str, float]:
    """Estimate the seconds that pieces of a run will take."""
    way = fastest(ways, found)
    speed = convolutions.estimated_speed(found, way, some.seeds)
    seconds = compiling(some, found, way, some.seeds) if speed else GUESS
    return pieces(some, some.runs, found, speed, seconds)


def pieces(
    experiment: Experiment,
    together: int,
    found: Sequence[Row],
    speed: float | None,
    compiling: float,
) -> Mapping[str, float]:
    """Estimate the seconds to compile, to evaluate and to train a part of an epoch.

    Args:
      experiment: what is trained.
      together: how many runs train together.
      found: rows of what was measured of it.
      speed: examples a second of all of them; None where none was measured.
      compiling: seconds to compile.
    """
    if speed is None:
        return {"compile": GUESS, "evaluation": GUESS}
    batch_size, examples = experiment.batch_sizes[0], int(found[0]["examples_an_epoch"])
    steps = grid.parts(experiment, examples, batch_size).step
    part = together * batch_size * steps / speed
    return {"compile": compiling, "evaluation": compiling, "part": part}
