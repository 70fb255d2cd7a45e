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
TRACED = 30.0  # seconds to trace what was compiled when it was timed

COMMITTED = Path(__file__).parents[2] / "results"
"""The parts of earlier calls; a call trains the seeds that are not there."""


class Ways(NamedTuple):
    """The ways to convolve that a plan may take, and the sizes of its parts.

    Attributes:
      named: all ways; the last is for a device that timed none.
      first: ways with numbers of seeds that are timed first, the same for all ways.
      later: those that are timed after the first part.
      sizes: numbers of seeds that a part may have, increasing.
      again: seconds of another call on this machine, in which a part may go on.
    """

    named: Mapping[str, convolutions.Way] = convolutions.WAYS
    first: convolutions.Counts = convolutions.FIRST
    later: convolutions.Counts = convolutions.LATER
    sizes: tuple[int, ...] = (1, 2, 3)
    again: float = 0.0


class Call(NamedTuple):
    """A call of a plan.

    Attributes:
      folder: of the plan; the parts of an experiment lie in a folder with its name.
      command: for the meta data.
      data_dir: a folder with the data sets.
      ways: to convolve.
      at: the moment by which to stop, on the clock of `time.monotonic`.
    """

    folder: Path
    command: str
    data_dir: Path | None
    ways: Ways
    at: float


def train_all(experiment: Experiment, call: Call) -> bool:
    """Train one part after the other; return whether all seeds are trained."""
    while unseen(experiment, call.folder / experiment.name):
        if not train_next(experiment, call):
            return False
    return True


def train_next(experiment: Experiment, call: Call) -> bool:
    """Train the next part, if any is left; return whether it is finished."""
    own = call.folder / experiment.name
    left = unseen(experiment, own)
    if not left:
        return True
    found = measurements.read(call.folder / convolutions.FILE)
    part, network = interrupted(own) or fresh(experiment, call, found, left)
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
) -> tuple[Part, str]:
    """Return a new part and its network: the first seeds that are left.

    It has as many seeds as end in time, or the fewest that a part may have.
    """
    way, end = fastest(call.ways, found), call.at + call.ways.again
    following = sum(seed == left[0] + k for k, seed in enumerate(left))
    sizes = [n for n in call.ways.sizes if n <= following]
    within = [
        n
        for n in sizes
        if time.monotonic() + estimated_seconds(experiment, found, way, n) < end
    ]
    network = call.ways.named[way].network
    return Part(left[0], max(within, default=sizes[0])), network


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
    return TRACED + EVALUATING * together * examples / speed


def guesses(some: Experiment, ways: Ways, found: Sequence[Row]) -> Mapping[str, float]:
    """Estimate the seconds that pieces of a run will take."""
    speed = convolutions.estimated_speed(found, fastest(ways, found), some.seeds)
    return pieces(some, some.runs, found, speed, TRACED)


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
