"""The files of a run: written whole or not at all, and read back."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pandas as pd

import prox_optax
from benchmarks.tasks import Problem

FOLDER = Path("results")
METRICS, META = "metrics.csv", "meta.json"
RUN = (
    "batch_size",
    "noise",
    "optimizer",
    "trial",
    "learning_rate",
    "threshold",
    "strength",
    "seed",
    "epoch",
)
"""The columns that say which run, and when; those of the task's measures follow."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def columns(problem: Problem) -> tuple[str, ...]:
    """Of metrics.csv."""
    evaluated = tuple(problem.score.labels)
    splits = {"train": problem.measures, "validation": evaluated, "test": evaluated}
    measures = (f"{split}_{name}" for split, names in splits.items() for name in names)
    return (*RUN, *measures, "diverged")


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file, then put it in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    write(path, lambda temporary: temporary.write_bytes(data))


def write_metrics(folder: Path, csv: str) -> None:
    """Write metrics.csv of a run that goes on: without meta.json."""
    (folder / META).unlink(missing_ok=True)
    write_text(folder / METRICS, csv)


def write_run(folder: Path, csv: str, meta: dict[str, Any]) -> None:
    """Write metrics.csv, then meta.json; a kill in between leaves no meta.json."""
    write_metrics(folder, csv)
    write_text(folder / META, json.dumps(meta, indent=2) + "\n")


def read_run(folder: Path, command: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Metrics and meta of a finished run.

    Raises:
      FileNotFoundError: naming the command that makes the files.
    """
    if not all((folder / file).is_file() for file in (METRICS, META)):
        raise FileNotFoundError(
            f"No finished run in {folder}. Run first: {command}\n"
            "An unfinished one goes on with --resume."
        )
    metrics = pd.read_csv(folder / METRICS)
    return metrics, json.loads((folder / META).read_text(encoding="utf-8"))


def judged(problem: Problem, references: dict[str, Any]) -> dict[str, Any]:
    """What meta.json says of the task, for the reports."""
    return {
        "score": problem.score._asdict(),
        "wording": problem.wording()._asdict(),
        "references": references,
    }


def versions() -> dict[str, str]:
    """Of Python and of what the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    own = {"python": platform.python_version(), "prox_optax": prox_optax.__version__}
    return own | found


def environment() -> dict[str, Any]:
    """Device, commit and day."""
    device = jax.devices()[0]
    return {
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "machine": platform.machine(),
            "cores": cores(),
        },
        "git_commit": _archived_commit() or _git_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def cores() -> int | None:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _archived_commit() -> str | None:
    """What `git archive` wrote into commit.txt; None in a checkout."""
    text = (Path(__file__).parent / "commit.txt").read_text(encoding="utf-8").strip()
    return text if re.fullmatch("[0-9a-f]{40}", text) else None


def _git_commit() -> str | None:
    """The commit, with -dirty if files differ from it; None outside a repository."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    process = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return process.stdout.strip() or None
