"""The files of a finished run: metrics.csv, meta.json and their manifest."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records.files import (
    MANIFEST,
    DamagedError,
    check,
    read_json,
    read_text,
    seal,
    telling,
    write_text,
)

FOLDER = Path("results")
METRICS, META = "metrics.csv", "meta.json"
META_KEYS = (
    *("command", "experiment", "noises", "trials", "baselines", "data_source"),
    *("versions", "device", "lanes", "seconds"),
)
"""The keys that every meta.json of a run has."""


def run_columns(numbers: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the columns that say which run a row is of, and after which epoch.

    `numbers` are those of the optimizers: each has a column between the learning rate
    and the seed. Every table has these two, empty where no optimizer has such a number.
    """
    own = dict.fromkeys(("learning_rate", "threshold", "strength", *numbers))
    return ("batch_size", "noise", "optimizer", "trial", *own, "seed", "epoch")


def own_numbers(metrics: pd.DataFrame) -> list[str]:
    """Return the columns of the optimizers' own numbers, beside the learning rate."""
    names = [*metrics]
    return names[names.index("learning_rate") + 1 : names.index("seed")]


def write_metrics(folder: Path, csv: str) -> None:
    """Write metrics.csv of a run that goes on; remove its manifest and meta.json."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / META).unlink(missing_ok=True)
    write_text(folder / METRICS, csv)


def write_meta(path: Path, meta: dict[str, Any]) -> None:
    """Write the meta data of a run or of measurements."""
    write_text(path, json.dumps(meta, indent=2) + "\n")


def write_run(folder: Path, csv: str, meta: dict[str, Any], *further: Path) -> None:
    """Write metrics.csv, meta.json and last the manifest, which names further files.

    A kill in between leaves no meta.json, or one without a manifest.
    """
    write_metrics(folder, csv)
    write_meta(folder / META, meta)
    seal(folder, (folder / METRICS, folder / META, *further))


def runs(csv: str, epochs: int) -> int:
    """Return the number of runs in the text of a metrics.csv, of so many epochs."""
    return int((pd.read_csv(io.StringIO(csv)).epoch == epochs).sum())


def read_csv(path: Path) -> pd.DataFrame:
    """Read a metrics.csv; DamagedError if it is no table of runs."""
    text = read_text(path)
    try:
        found = pd.read_csv(io.StringIO(text))
    except ValueError as error:  # pandas' own are of this kind
        raise DamagedError(f"{path} is damaged: it is no table ({error}).") from error
    if absent := [name for name in (*run_columns(), "diverged") if name not in found]:
        raise DamagedError(f"{path} is damaged: it has no column {', '.join(absent)}.")
    if found.diverged.isna().any():  # the last column
        raise DamagedError(f"{path} is damaged: a row is cut off.")
    return found


def read_run(folder: Path, command: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read metrics and meta data of a finished run; check them if it has a manifest.

    Raises:
      FileNotFoundError: there is no finished run; names the command that makes one.
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
    """Raise DamagedError unless a table has as many rows as its meta data say."""
    if absent := [key for key in META_KEYS if key not in meta]:
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
