"""All that `python -m benchmarks traffic` measures, and its files."""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs.traffic import measure, table
from benchmarks.costs.traffic.budgets import COMPILE_RATIO
from benchmarks.costs.traffic.measure import Row
from benchmarks.costs.traffic.methods import METHODS
from benchmarks.costs.traffic.targets import (
    PLUGINS,
    SHARDED,
    TARGETS,
    Target,
    UnavailableError,
    devices,
    use_cpu_alone,
)
from benchmarks.costs.trees import TREES
from benchmarks.records import files, origin, run_files

COMMAND = "python -m benchmarks traffic"
SMALL, LARGE = TREES
TIMED = (
    "proximal, sgd",
    "ema of weights, sgd",
    "proximal, adam",
    "ema of weights, adam",
)


class Finding(NamedTuple):
    """What was found: a text, and whether nothing is over budget."""

    text: str
    ok: bool


def run(folder: Path) -> Finding:
    """Measure everything; write table.md, traffic.csv and meta.json."""
    use_cpu_alone()
    targets, skipped = available(TARGETS)
    rows = [row for target in targets for row in measure_all(target)]
    sharded = sharding()
    versions = ", ".join(f"{name} {v}" for name, v in all_versions().items())
    parts = [
        table.markdown(rows),
        "\n".join([*skipped, sharded.text, compile_times(targets[0])]),
        f"`{COMMAND}`; {versions}.",
    ]
    text = "\n\n".join(parts)
    files.write_text(folder / "table.md", text + "\n")
    files.write_text(folder / "traffic.csv", table.to_csv(rows))
    meta = {
        "command": COMMAND,
        "skipped": skipped,
        "versions": all_versions(),
        **origin.environment(),
    }
    files.write_text(folder / run_files.META, json.dumps(meta, indent=2) + "\n")
    return Finding(text, is_kept(rows) and sharded.ok)


def available(targets: tuple[Target, ...]) -> tuple[list[Target], list[str]]:
    """Targets that can be compiled for here, and why others cannot."""
    found, skipped = [], []
    for target in targets:
        try:
            devices(target)
            found.append(target)
        except UnavailableError as error:
            skipped.append(f"Skipped {name(target)}: {error}")
    return found, skipped


def measure_all(target: Target) -> list[Row]:
    """Every update on the small tree, those with a budget on the large one too."""
    rows = []
    for tree in TREES:
        for update, method in METHODS.items():
            if tree == SMALL or method.kind != "peer":
                print(f"{name(target)}: {tree}, {update}", file=sys.stderr)
                rows.append(measure.measure(target, tree, update))
    return rows


def is_kept(rows: list[Row]) -> bool:
    return all(measure.is_within(row) is not False for row in rows)


def sharding() -> Finding:
    """Collectives of our updates on several devices: there are to be none.

    But for the units of an int16 anchor, where it is taken.
    """
    targets, lines = available(SHARDED)
    ours = [update for update, method in METHODS.items() if method.kind == "ours"]
    ok = True
    for target in targets:
        found: dict[str, set[str]] = {"whole": set(), "int16": set()}
        for update in ours:
            ordinary, anchoring = measure.collectives(target, SMALL, update)
            found["whole"] |= ordinary
            found["int16" if METHODS[update].int16 else "whole"] |= anchoring
        ok &= not found["whole"]
        which = {key: ", ".join(sorted(x)) or "none" for key, x in found.items()}
        lines.append(
            f"Collectives of {len(ours)} updates ({SMALL}) split over {name(target)}: "
            f"{which['whole']}; where an int16 anchor is taken: {which['int16']}."
        )
    return Finding("\n".join(lines), ok)


def compile_times(target: Target) -> str:
    """Of the pull, and of an average of the weights, which needs as much state."""
    lines = []
    for update in TIMED:
        ratio, bare = measure.compile_ratio(target, LARGE, update)
        lines.append(
            f"Compile time of {update} over {METHODS[update].base} ({LARGE}, "
            f"{name(target)}): {ratio:.2f} x {bare:.1f} s."
        )
    lines.append(
        f"Tracing and compiling, processor time, medians of {measure.REPEATS} in "
        f"turns; with the anchor it is to be {COMPILE_RATIO} x at most."
    )
    return "\n".join(lines)


def name(target: Target) -> str:
    return target.chip if target.devices == 1 else f"{target.devices} {target.chip}"


def all_versions() -> dict[str, str]:
    """Those of every run, and the compilers'."""
    found = origin.versions()
    for package in PLUGINS.values():
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found
