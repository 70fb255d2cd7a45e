"""All that `python -m benchmarks speed` measures, and its files."""

import importlib.metadata
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import checkpoint, experiments, results
from benchmarks.deadline import Deadline
from benchmarks.experiments import Experiment, speed
from benchmarks.speed import lanes, steps, table, updates, ways
from benchmarks.speed.ways import Subject
from benchmarks.traffic.trees import TREES

FILES = (updates.FILE, steps.FILE, ways.FILE)


class Plan(NamedTuple):
    """What is measured.

    Attributes:
      command: for the meta data.
      trees: whose updates are timed.
      whole: whose whole step is timed.
      subjects: what is trained in several ways.
    """

    command: str
    trees: updates.Trees
    whole: tuple[Experiment, ...]
    subjects: tuple[Subject, ...]


PLAN = Plan(
    "python -m benchmarks speed --data-dir DIR",
    TREES,
    (speed.RESNET_64, speed.LANGUAGE),
    (
        Subject(speed.LANGUAGE, (1, 4, 16)),
        Subject(speed.RESNET_16, (1, 4, 16), plain=(1, 4)),
        Subject(speed.RESNET_64, (1, 4), plain=(1,)),
    ),
)


def tiny() -> Plan:
    """The same lines in seconds: one matrix, one small transformer."""
    small = experiments.tiny(speed.LANGUAGE)
    matrix = {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)}
    return Plan(
        f"{PLAN.command} --tiny",
        {"one matrix": lambda: matrix},
        (small,),
        (Subject(small, (1, 2)),),
    )


def run(plan: Plan, folder: Path, data_dir: Path | None, *, resume: bool) -> str:
    """Measure what is not measured yet; write meta.json first and table.md last.

    Raises:
      FileNotFoundError, ValueError: of the data, or of what is to be resumed.
    """
    for each in plan.whole:
        each.problem.load(lanes.data_of(data_dir, each.problem.data))
    environment = results.environment()
    wanted = {
        "command": plan.command,
        "versions": versions(),
        "device": environment["device"],
    }
    if resume:
        meta = checkpoint.begun(folder, wanted)
        if meta is None:
            raise FileNotFoundError(
                f"Nothing to resume in {folder}; leave out --resume."
            )
    else:
        meta = wanted | environment
        for file in FILES:
            (folder / file).unlink(missing_ok=True)
        results.write_text(folder / results.META, json.dumps(meta, indent=2) + "\n")
    updates.run(folder, plan.trees)
    steps.run(folder, plan.whole, data_dir)
    ways.run(folder, plan.subjects, data_dir, Deadline())
    return table.write(folder, meta)


def versions() -> dict[str, str]:
    """Those of every run, and PyTorch's."""
    torch = importlib.metadata.version("torch") if updates.has_torch() else "missing"
    return results.versions() | {"torch": torch}
