"""All that `python -m benchmarks speed` measures, and its files."""

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import experiments, results
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
        Subject(
            speed.RESNET_64, (1, 4), speed.with_plain_convolutions(speed.RESNET_64)
        ),
        Subject(
            speed.RESNET_16, (1, 4, 16), speed.with_plain_convolutions(speed.RESNET_16)
        ),
        Subject(speed.LANGUAGE, (1, 4, 16)),
    ),
)


def tiny() -> Plan:
    """The same lines in seconds: one matrix, one small transformer."""
    small = replace(experiments.tiny(speed.LANGUAGE), part=2)
    matrix = {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)}
    return Plan(
        f"{PLAN.command} --tiny",
        {"one matrix": lambda: matrix},
        (small,),
        (Subject(small, (1, 2)),),
    )


def run(plan: Plan, folder: Path, data_dir: Path | None, *, resume: bool) -> str:
    """Measure what is not measured yet; write table.md and meta.json.

    Raises:
      FileNotFoundError, ValueError: of the data.
    """
    environment = results.environment()
    for each in plan.whole:
        each.problem.load(lanes.data_of(data_dir, each.problem.data))
    if not resume:
        for file in (*FILES, results.META):
            (folder / file).unlink(missing_ok=True)
    updates.run(folder, plan.trees)
    steps.run(folder, plan.whole, data_dir)
    ways.run(folder, plan.subjects, data_dir)
    meta = {"command": plan.command, "versions": versions(), **environment}
    results.write_text(folder / results.META, json.dumps(meta, indent=2) + "\n")
    return table.write(folder, meta)


def versions() -> dict[str, str]:
    """Those of every run, and PyTorch's."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "missing: pip install torch==2.13.0"
    return results.versions() | {"torch": torch}
