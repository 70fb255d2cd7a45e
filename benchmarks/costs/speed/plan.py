"""All that `python -m benchmarks speed` measures, and its files."""

import importlib.metadata
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import experiments
from benchmarks.costs.speed import replicas, steps, table, throughput, updates
from benchmarks.costs.speed.throughput import Subject
from benchmarks.costs.trees import TREES
from benchmarks.experiments import Experiment, speed
from benchmarks.records import files, origin, run_files
from benchmarks.runs import checkpoint
from benchmarks.runs.deadline import Deadline

FILES = (updates.FILE, steps.FILE, throughput.FILE)


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
        each.problem.load(replicas.data_of(data_dir, each.problem.data))
    environment = origin.environment()
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
        files.write_text(folder / run_files.META, json.dumps(meta, indent=2) + "\n")
    updates.run(folder, plan.trees)
    steps.run(folder, plan.whole, data_dir)
    throughput.run(folder, plan.subjects, data_dir, Deadline())
    return table.write(folder, meta)


def versions() -> dict[str, str]:
    """Those of every run, and PyTorch's."""
    torch = importlib.metadata.version("torch") if updates.has_torch() else "missing"
    return origin.versions() | {"torch": torch}
