"""A pooled experiment: seeds that were trained on several days and devices.

Its folder holds a folder a part, `seeds-FIRST-LAST`, each a finished run with its own
meta data. Copy the parts of several calls into one folder: they are read as one run.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.records import run_files

NAME = re.compile(r"seeds-(\d+)-(\d+)")
OWN = ("seeds", "first_seed", "network")
"""What parts of one experiment may differ in: their seeds, and how they convolve."""


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
        return f"seeds-{self.first}-{self.first + self.seeds - 1}"


def begun(folder: Path) -> list[Part]:
    """The parts in a folder, finished or not, by their seeds."""
    names = (NAME.fullmatch(path.name) for path in folder.glob("seeds-*"))
    ends = [(int(m[1]), int(m[2])) for m in names if m]
    return sorted(Part(first, last - first + 1) for first, last in ends)


def finished(folder: Path) -> list[Part]:
    """The parts that have their meta data."""
    return [
        part
        for part in begun(folder)
        if (folder / part.folder / run_files.META).is_file()
    ]


def read(folder: Path, command: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All parts as one run; `parts` of its meta data says where each was made.

    `command` makes the results, for the error if a part is damaged.

    Raises:
      ValueError: two parts are of different experiments, or have a seed in common.
    """
    parts = finished(folder)
    runs = [run_files.read_run(folder / part.folder, command) for part in parts]
    first = runs[0][1]
    for part, (_, meta) in zip(parts, runs, strict=True):
        if configuration(meta) != configuration(first):
            raise ValueError(
                f"{folder / part.folder} is of another experiment than "
                f"{folder / parts[0].folder}: keep them in two folders."
            )
    seeds = [part.first + k for part in parts for k in range(part.seeds)]
    if len({*seeds}) < len(seeds):
        raise ValueError(f"Parts of {folder} have seeds in common: remove one of them.")
    origins = [origin(part, meta) for part, (_, meta) in zip(parts, runs, strict=True)]
    whole = first | {
        "experiment": first["experiment"] | {"seeds": len(seeds)},
        "lanes": sum(meta["lanes"] for _, meta in runs),
        "parts": origins,
    }
    return pd.concat([metrics for metrics, _ in runs], ignore_index=True), whole


def configuration(meta: dict[str, Any]) -> dict[str, Any]:
    """What all parts have in common."""
    numbers = {key: x for key, x in meta["experiment"].items() if key not in OWN}
    same = ("noises", "trials", "baselines", "data_source", "score")
    return {"experiment": numbers} | {key: meta[key] for key in same}


def origin(part: Part, meta: dict[str, Any]) -> dict[str, Any]:
    """Where and when a part was made, and how long it took."""
    kept = ("device", "versions", "git_commit", "date", "seconds", "command")
    own = {key: meta["experiment"][key] for key in OWN}
    return own | {key: meta[key] for key in kept}
