"""The files of a run, and what stands in them."""

import datetime
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import pandas as pd

import prox_optax
from benchmarks.files import (
    MANIFEST,
    DamagedError,
    check,
    read_json,
    read_text,
    seal,
    telling,
)
from benchmarks.files import write as write  # by these names others write too
from benchmarks.files import write_bytes as write_bytes
from benchmarks.files import write_text as write_text
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
WRITTEN = (
    *("command", "experiment", "noises", "trials", "baselines", "data_source"),
    *("versions", "device", "lanes", "seconds"),
)
"""What every meta.json of a run says."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def columns(problem: Problem) -> tuple[str, ...]:
    """Of metrics.csv."""
    evaluated = tuple(problem.score.labels)
    splits = {"train": problem.measures, "validation": evaluated, "test": evaluated}
    measures = (f"{split}_{name}" for split, names in splits.items() for name in names)
    return (*RUN, *measures, "diverged")


def write_metrics(folder: Path, csv: str) -> None:
    """Write metrics.csv of a run that goes on: without manifest and meta.json."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / META).unlink(missing_ok=True)
    write_text(folder / METRICS, csv)


def write_run(folder: Path, csv: str, meta: dict[str, Any], *further: Path) -> None:
    """Write metrics.csv, meta.json and last the manifest, of further files too.

    A kill in between leaves no meta.json, or one without a manifest.
    """
    write_metrics(folder, csv)
    write_text(folder / META, json.dumps(meta, indent=2) + "\n")
    seal(folder, (folder / METRICS, folder / META, *further))


def read_csv(path: Path) -> pd.DataFrame:
    """A table of runs; DamagedError where there is none."""
    text = read_text(path)
    try:
        found = pd.read_csv(io.StringIO(text))
    except ValueError as error:  # pandas' own are of this kind
        raise DamagedError(f"{path} is damaged: it is no table ({error}).") from error
    if absent := [name for name in (*RUN, "diverged") if name not in found]:
        raise DamagedError(f"{path} is damaged: it has no column {', '.join(absent)}.")
    if found.diverged.isna().any():  # the last column
        raise DamagedError(f"{path} is damaged: a row is cut off.")
    return found


def read_run(folder: Path, command: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Metrics and meta of a finished run, checked if there is a manifest.

    Raises:
      FileNotFoundError: naming the command that makes the files.
      DamagedError: a file does not hold what the run wrote.
    """
    with telling(f"Put it back from a copy, or run anew: {command}"):
        if (folder / MANIFEST).exists():
            check(folder, METRICS, META)
        elif not all((folder / file).is_file() for file in (METRICS, META)):
            raise FileNotFoundError(
                f"No finished run in {folder}. Run first: {command}\n"
                "An unfinished one goes on with --resume."
            )
        metrics, meta = read_csv(folder / METRICS), read_json(folder / META)
        check_rows(folder, metrics, meta)
    return metrics, meta


def check_rows(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> None:
    """Raise DamagedError unless a table has the rows that the meta data tell of."""
    if absent := [key for key in WRITTEN if key not in meta]:
        raise DamagedError(f"{folder / META} is damaged: it lacks {', '.join(absent)}.")
    try:
        last = int((metrics.epoch == meta["experiment"]["epochs"]).sum())
    except (KeyError, TypeError) as error:
        raise DamagedError(
            f"{folder / META} is damaged: it tells no epochs."
        ) from error
    if last != meta["lanes"]:
        raise DamagedError(
            f"{folder / METRICS} is damaged: {last} rows of the last epoch for "
            f"{meta['lanes']} runs."
        )


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
