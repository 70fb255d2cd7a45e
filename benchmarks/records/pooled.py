"""Pooled experiments: their seeds were trained on several days and devices.

The folder of one holds a folder `seeds-FIRST-LAST` for each part: a finished run with
meta data of its own. Copy the parts of several calls into one folder, and they are read
as one run.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.records import run_files

NAME = re.compile(r"seeds-(\d+)-(\d+)")
MAY_DIFFER = ("seeds", "first_seed", "network")
"""What parts of one experiment may differ in: their seeds and how they convolve."""


class Part(NamedTuple):
    """Seeds that are trained together.

    Attributes:
      first: the first seed.
      seeds: how many.
    """

    first: int
    seeds: int

    @property
    def folder(self) -> str:
        """Name the part's folder."""
        return f"seeds-{self.first}-{self.first + self.seeds - 1}"


def begun_parts(folder: Path) -> list[Part]:
    """List the parts in a folder, finished or not, by their seeds."""
    names = (NAME.fullmatch(path.name) for path in folder.glob("seeds-*"))
    ends = [(int(m[1]), int(m[2])) for m in names if m]
    return sorted(Part(first, last - first + 1) for first, last in ends)


def finished_parts(folder: Path) -> list[Part]:
    """List the parts in a folder that are finished: that have their meta data."""
    return [
        part
        for part in begun_parts(folder)
        if (folder / part.folder / run_files.META).is_file()
    ]


def read(folder: Path, command: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read all parts as one run, whose meta data list them in `parts`.

    `command` makes the results; the error names it if a part is damaged.

    Raises:
      ValueError: two parts are of different experiments, or have a seed in common.
    """
    parts = finished_parts(folder)
    runs = [run_files.read_run(folder / part.folder, command) for part in parts]
    first = runs[0][1]
    for part, (_, meta) in zip(parts, runs, strict=True):
        if common(meta) != common(first):
            raise ValueError(
                f"{folder / part.folder} is of another experiment than "
                f"{folder / parts[0].folder}: keep them in two folders."
            )
    seeds = [part.first + k for part in parts for k in range(part.seeds)]
    if len({*seeds}) < len(seeds):
        raise ValueError(f"Parts of {folder} have seeds in common: remove one of them.")
    origins = [
        origin_of(part, meta) for part, (_, meta) in zip(parts, runs, strict=True)
    ]
    whole = first | {
        "experiment": first["experiment"] | {"seeds": len(seeds)},
        "lanes": sum(meta["lanes"] for _, meta in runs),
        "parts": origins,
    }
    return pd.concat([metrics for metrics, _ in runs], ignore_index=True), whole


def common(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the meta data that all parts of an experiment have in common."""
    numbers = {key: x for key, x in meta["experiment"].items() if key not in MAY_DIFFER}
    same = ("noises", "trials", "baselines", "data_source", "score")
    return {"experiment": numbers} | {key: meta[key] for key in same}


def origin_of(part: Part, meta: dict[str, Any]) -> dict[str, Any]:
    """Return where and when a part was made, and how long it took."""
    kept = ("device", "versions", "git_commit", "date", "seconds", "command")
    own = {key: meta["experiment"][key] for key in MAY_DIFFER}
    return own | {key: meta[key] for key in kept}
