"""What the command `list` says of an experiment."""

import re
from pathlib import Path
from typing import Any

from benchmarks.experiments import EXPERIMENTS, Experiment
from benchmarks.records import files, run_files
from benchmarks.records.score import count
from benchmarks.runs import memory

COMMITTED = Path(__file__).parents[1] / "results"
"""The results that come with the repository."""


def describe(experiment: Experiment) -> list[str]:
    """Return lines: the question, the data, time and memory, and what was run."""
    costs = experiment.cost, f"on one GPU: {experiment.gpu_cost}"
    most = "up to " if experiment.tuning_seeds else ""
    takes = [cost for cost in costs if not cost.endswith(("not measured", "not run"))]
    return [
        f"{experiment.name}: {experiment.question}",
        f"    data: {experiment.problem.data}, {most}{count(experiment.runs, 'run')}",
        f"    takes: {'; '.join(takes) or 'not measured'}",
        f"    memory: up to {size(memory.bytes_held(experiment))}",
        *(f"    results: {result(folder)}" for folder in folders(experiment.name)),
    ]


def size(bytes_: int) -> str:
    """Write a number of bytes in MB or GB."""
    return f"{bytes_ / 1e9:.1f} GB" if bytes_ >= 1e9 else f"{bytes_ / 1e6:.0f} MB"


def folders(name: str) -> list[Path]:
    """Return the folders with results of an experiment, in fewer epochs or tiny too."""
    shorter = re.compile(rf"{name}-(tiny|\d+-epochs)")
    return [
        folder
        for folder in sorted(COMMITTED.glob(f"{name}*"))
        if folder.name == name
        or (shorter.fullmatch(folder.name) and folder.name not in EXPERIMENTS)
    ]


def result(folder: Path) -> str:
    """Say what was run, where, and what it took."""
    metas = [files.read_json(path) for path in sorted(folder.rglob(run_files.META))]
    minutes = sum(sum(meta["seconds"].values()) for meta in metas) / 60
    places = dict.fromkeys(map(place, metas))
    return (
        f"benchmarks/results/{folder.name}, {sum(meta['lanes'] for meta in metas)} "
        f"runs on {', '.join(places)} in {count(round(minutes), 'minute')}"
    )


def place(meta: dict[str, Any]) -> str:
    """Name a device."""
    device = meta["device"]
    return f"{device['cores']} CPU cores" if device["kind"] == "cpu" else device["kind"]
