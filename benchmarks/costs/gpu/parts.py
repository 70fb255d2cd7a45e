"""The next seeds of a pooled experiment: which, how many, and their training."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import measurements
from benchmarks.costs.gpu import convolutions
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.records import files, pooled
from benchmarks.records.pooled import Part
from benchmarks.runs import checkpoint, grid
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import prepare, run

EVALUATING = 1.15  # seconds of a run over those of its training, about
GUESS = 90.0  # seconds to compile what was not timed
COMPILED = 30.0  # seconds to trace what was compiled when it was timed

COMMITTED = Path(__file__).parents[2] / "results"
"""What earlier calls left; a call goes on with the seeds that are not there."""


class Ways(NamedTuple):
    """How lanes may convolve.

    Attributes:
      named: each; the last is for a device that timed none.
      cells: (way, seeds) that are timed first, the same seeds for all ways.
      later: those that are timed after the first part.
      sizes: seeds of a part.
      again: seconds of another call on this machine, in which a part may go on.
    """

    named: Mapping[str, convolutions.Way] = convolutions.WAYS
    cells: convolutions.Cells = convolutions.CELLS
    later: convolutions.Cells = convolutions.LATER
    sizes: tuple[int, ...] = (1, 2, 3)
    again: float = 0.0


def go_on(
    experiment: Experiment,
    folder: Path,
    ways: Ways,
    command: str,
    data_dir: Path | None,
    at: float,
) -> bool:
    """Train parts until a moment; whether all seeds of the experiment are there."""
    while unseen(experiment, folder / experiment.name):
        if not train_one(experiment, folder, ways, command, data_dir, at):
            return False
    return True


def train_one(
    experiment: Experiment,
    folder: Path,
    ways: Ways,
    command: str,
    data_dir: Path | None,
    at: float,
) -> bool:
    """Train the next part, if any; whether it is finished.

    `folder` is of the plan; the parts are in a folder of it with the experiment's name.
    """
    own, data_dir = folder / experiment.name, replicas.data_of(data_dir, "cifar10")
    left, found = unseen(experiment, own), measurements.read(folder / convolutions.FILE)
    if not left:
        return True
    part, network = begun(own) or fresh(experiment, ways, found, left, at)
    some = convolutions.some(experiment, part.seeds, network, part.first)
    path = own / part.folder
    resume = (path / checkpoint.FOLDER / checkpoint.RUN).is_file()
    prepared = prepare(some, command, path, resume=resume, data_dir=data_dir)
    deadline = Deadline(at, guesses(some, ways, found))
    return prepared is not None and run(prepared, deadline)


def unseen(experiment: Experiment, own: Path) -> list[int]:
    """The seeds that are in no finished part, here or among the committed results."""
    seen = {
        part.first + k
        for folder in (own, COMMITTED / experiment.name)
        for part in pooled.finished(folder)
        for k in range(part.seeds)
    }
    return [seed for seed in range(experiment.seeds) if seed not in seen]


def begun(own: Path) -> tuple[Part, str] | None:
    """The part that a deadline stopped, and its network."""
    unfinished = [x for x in pooled.begun(own) if x not in pooled.finished(own)]
    for part in unfinished:
        if network := network_of(own / part.folder):
            return part, network
    return None


def network_of(folder: Path) -> str | None:
    """Of a run that was begun in a folder; None where none was."""
    path = folder / checkpoint.FOLDER / checkpoint.RUN
    if not path.is_file():
        return None
    network: str = files.read_json(path)["experiment"]["network"]
    return network


def fresh(
    experiment: Experiment,
    ways: Ways,
    found: Sequence[measurements.Row],
    left: Sequence[int],
    at: float,
) -> tuple[Part, str]:
    """The first seeds that are left, as many as end in time, else the fewest."""
    way = fastest(ways, found)
    following = sum(seed == left[0] + k for k, seed in enumerate(left))
    sizes = [n for n in ways.sizes if n <= following]
    within = [
        n
        for n in sizes
        if time.monotonic() + seconds(experiment, found, way, n) < at + ways.again
    ]
    return Part(left[0], max(within, default=sizes[0])), ways.named[way].network


def fastest(ways: Ways, found: Sequence[measurements.Row]) -> str:
    """The one place where the way is chosen that trains lanes on a device."""
    return convolutions.fastest(found) or list(ways.named)[-1]


def seconds(
    experiment: Experiment, found: Sequence[measurements.Row], way: str, seeds: int
) -> float:
    """Of a part, from the measured speed; 0 if none was measured."""
    speed = convolutions.speed(found, way, seeds)
    if speed is None:
        return 0.0
    examples = int(found[0]["examples_an_epoch"]) * experiment.epochs
    together = experiment.lanes // experiment.seeds * seeds
    return COMPILED + EVALUATING * together * examples / speed


def guesses(
    some: Experiment, ways: Ways, found: Sequence[measurements.Row]
) -> Mapping[str, float]:
    """Seconds that pieces of a run will take."""
    speed = convolutions.speed(found, fastest(ways, found), some.seeds)
    if speed is None:
        return {"compile": GUESS, "evaluation": GUESS}
    batch_size = some.batch_sizes[0]
    steps = grid.parts(some, int(found[0]["examples_an_epoch"]), batch_size).step
    return {
        "compile": COMPILED,
        "evaluation": COMPILED,
        "part": some.lanes * batch_size * steps / speed,
    }
