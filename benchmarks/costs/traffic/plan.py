"""The command `python -m benchmarks traffic`: what it measures and writes."""

import importlib.metadata
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs.traffic import count, table
from benchmarks.costs.traffic.budgets import COMPILE_RATIO
from benchmarks.costs.traffic.count import Traffic
from benchmarks.costs.traffic.targets import (
    PLUGINS,
    SHARDED,
    TARGETS,
    Target,
    UnavailableError,
    devices,
    use_cpu_alone,
)
from benchmarks.costs.traffic.updates import COUNTED
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
    """A text for the report, and whether everything in it is within budget."""

    text: str
    ok: bool


def run(folder: Path, *, tiny: bool) -> Finding:
    """Measure everything; write table.md, traffic.csv and meta.json to a folder.

    A tiny one measures the small tree on the first chip of each platform, and times no
    compiler.
    """
    use_cpu_alone()
    command = COMMAND + " --tiny" * tiny
    targets, skipped = available(one_of_each(TARGETS) if tiny else TARGETS)
    trees = (SMALL,) if tiny else tuple(TREES)
    rows = [row for target in targets for row in measure_all(target, trees)]
    sharded = sharding()
    timed = [] if tiny else [compile_times(targets[0])]
    versions = origin.listed(all_versions())
    parts = [
        table.markdown(rows),
        "\n".join([*skipped, sharded.text, *timed]),
        f"`{command}`; {versions}.",
    ]
    text = "\n\n".join(parts)
    files.write_text(folder / "table.md", text + "\n")
    files.write_text(folder / "traffic.csv", table.to_csv(rows))
    meta = {
        "command": command,
        "skipped": skipped,
        "versions": all_versions(),
        **origin.environment(),
    }
    run_files.write_meta(folder / run_files.META, meta)
    return Finding(text, is_kept(rows) and sharded.ok)


def one_of_each(targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """Return the first target of each platform."""
    first = {target.platform: target for target in reversed(targets)}
    return tuple(target for target in targets if target in first.values())


def available(targets: tuple[Target, ...]) -> tuple[list[Target], list[str]]:
    """Return the targets that can be compiled for here, and a line on each other."""
    found, skipped = [], []
    for target in targets:
        try:
            devices(target)
            found.append(target)
        except UnavailableError as error:
            skipped.append(f"Skipped {name(target)}: {error}")
    return found, skipped


def measure_all(target: Target, trees: tuple[str, ...]) -> list[Traffic]:
    """Measure every update on the small tree, those with a budget on the others too."""
    rows = []
    for tree in trees:
        for update, counted in COUNTED.items():
            if tree == SMALL or counted.kind != "peer":
                print(f"{name(target)}: {tree}, {update}", file=sys.stderr)
                rows.append(count.measure(target, tree, update))
    return rows


def is_kept(rows: list[Traffic]) -> bool:
    return all(count.is_within(row) is not False for row in rows)


def sharding() -> Finding:
    """Find the collectives of our updates on several devices.

    There are to be none, but for the units of an int16 anchor on the step that takes
    it.
    """
    targets, lines = available(SHARDED)
    ours = [update for update, counted in COUNTED.items() if counted.kind == "ours"]
    ok = True
    for target in targets:
        found: dict[str, set[str]] = {"whole": set(), "int16": set()}
        for update in ours:
            ordinary, anchoring = count.collectives(target, SMALL, update)
            found["whole"] |= ordinary
            key = "int16" if COUNTED[update].anchor == "int16" else "whole"
            found[key] |= anchoring
        ok &= not found["whole"]
        which = {key: ", ".join(sorted(x)) or "none" for key, x in found.items()}
        lines.append(
            f"Collectives of {len(ours)} updates ({SMALL}) split over {name(target)}: "
            f"{which['whole']}; where an int16 anchor is refreshed: {which['int16']}."
        )
    return Finding("\n".join(lines), ok)


def compile_times(target: Target) -> str:
    """Time the compiler on the pull and on an average of the weights.

    The average is there to compare with: it needs as much state as the pull.
    """
    lines = []
    for update in TIMED:
        ratio, bare = count.compile_ratio(target, LARGE, update)
        lines.append(
            f"Compile time of {update} over {COUNTED[update].base} ({LARGE}, "
            f"{name(target)}): {ratio:.2f} x {bare:.1f} s."
        )
    lines.append(
        f"Tracing and compiling, processor time, medians of {count.REPEATS}, "
        f"interleaved; with the anchor it is to be {COMPILE_RATIO} x at most."
    )
    return "\n".join(lines)


def name(target: Target) -> str:
    return target.chip if target.devices == 1 else f"{target.devices} {target.chip}"


def all_versions() -> dict[str, str]:
    """Return the versions that every run tells, and the compilers'."""
    found = origin.versions()
    for package in PLUGINS.values():
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found
