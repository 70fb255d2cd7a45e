"""What `python -m benchmarks speed` measures, and its files."""

import importlib.metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import experiments
from benchmarks.costs import measurements
from benchmarks.costs.speed import replicas, steps, table, throughput, updates
from benchmarks.costs.speed.throughput import Subject
from benchmarks.costs.trees import TREES, Trees
from benchmarks.experiments import Experiment, speed
from benchmarks.records import origin, run_files
from benchmarks.runs import checkpoint
from benchmarks.runs.deadline import Deadline

FILES = (updates.FILE, steps.FILE, throughput.FILE)


class Speeds(NamedTuple):
    """What is measured.

    Attributes:
      command: for the meta data.
      trees: parameters whose updates are timed.
      whole: experiments whose whole step is timed.
      subjects: experiments that are trained in several ways.
    """

    command: str
    trees: Trees
    whole: tuple[Experiment, ...]
    subjects: tuple[Subject, ...]


ALL = Speeds(
    "python -m benchmarks speed --data-dir DIR",
    TREES,
    (speed.RESNET_64, speed.LANGUAGE),
    (
        Subject(speed.LANGUAGE, (1, 4, 16)),
        Subject(speed.RESNET_16, (1, 4, 16), plain=(1, 4)),
        Subject(speed.RESNET_64, (1, 4), plain=(1,)),
    ),
)


def tiny() -> Speeds:
    """Return what runs the same code in seconds: a matrix and a small transformer."""
    small = experiments.tiny(speed.LANGUAGE)
    matrix = {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)}
    return Speeds(
        f"{ALL.command} --tiny",
        {"one matrix": lambda: matrix},
        (small,),
        (Subject(small, (1, 2)),),
    )


def run(speeds: Speeds, folder: Path, data_dir: Path | None, *, resume: bool) -> str:
    """Measure what is not measured yet; write meta.json first and table.md last.

    Raises:
      FileNotFoundError, ValueError: the data are missing or wrong, or there is nothing
        to resume, or it was measured on another machine.
    """
    for each in speeds.whole:
        each.problem.load(replicas.data_of(data_dir, each.problem.data))
    meta = begin(speeds, folder, resume)
    never = Deadline()
    for file, cells in (
        (updates.FILE, updates.cells(speeds.trees)),
        (steps.FILE, steps.cells(speeds.whole, data_dir)),
    ):
        measurements.complete(folder / file, cells, never)
    throughput.run(folder, speeds.subjects, data_dir, never)
    return table.write(folder, meta)


def begin(speeds: Speeds, folder: Path, resume: bool) -> dict[str, Any]:
    """Return the meta data; written anew unless measurements are to be resumed."""
    environment = origin.environment()
    device = {"device": environment["device"]}
    wanted = {"command": speeds.command, "versions": versions(), **device}
    if resume:
        meta = checkpoint.begun_meta(folder, wanted)
        if meta is None:
            raise FileNotFoundError(
                f"Nothing to resume in {folder}; leave out --resume."
            )
        return meta
    for file in FILES:
        (folder / file).unlink(missing_ok=True)
    meta = wanted | environment
    run_files.write_meta(folder / run_files.META, meta)
    return meta


def versions() -> dict[str, str]:
    """Return the versions that every run notes, and PyTorch's."""
    torch = importlib.metadata.version("torch") if updates.has_torch() else "missing"
    return origin.versions() | {"torch": torch}
