"""Tables of the measured speeds, from their files alone."""

from pathlib import Path
from typing import Any

from benchmarks.costs import measurements, timing
from benchmarks.costs.speed import replicas, steps, throughput, updates
from benchmarks.costs.traffic.counted import PERIOD
from benchmarks.experiments.speed import STEPS
from benchmarks.records import files
from benchmarks.report import markdown

NOTES = f"""\
Medians of {timing.REPEATS} calls with the least and the most, float32 throughout.

- Updates and whole steps take turns in one process; ratios are of the pairs.
- Updates: one compiled program each, donated params and state, periods of {PERIOD}.
  PyTorch: an eager loop over the parameters, in place, from the same rule.
- Whole steps: forward, backward and update of one lane in a scan of {STEPS} steps, as
  `run` trains, with the shuffle of so short an epoch.
- Ways, timed one after the other: examples a second of all runs together. Lanes train
  in one program; processes are a run each on a core of its own. Steps are a scan, or a
  call each. PyTorch trains eagerly on one batch, reads no data and augments nothing.
- Without PyTorch (`pip install torch`) its cells are - and its ways are missing."""


def write(folder: Path, meta: dict[str, Any]) -> str:
    """Write all tables as Markdown to table.md, and return them."""
    device = meta["device"]
    versions = ", ".join(f"{name} {x}" for name, x in meta["versions"].items())
    parts = [
        *(
            "\n".join(markdown.align(cells(measurements.read(folder / file))))
            for file, cells in (
                (updates.FILE, updates_table),
                (steps.FILE, steps_table),
                (throughput.FILE, throughput_table),
            )
        ),
        NOTES,
        f"`{meta['command']}` on {device['platform']} ({device['kind']}), "
        f"{device['cores']} cores; {versions}.",
    ]
    text = "\n\n".join(parts) + "\n"
    files.write_text(folder / "table.md", text)
    return text


def updates_table(found: list[measurements.Row]) -> list[markdown.Cells]:
    """Return a row for each tree and bare optimizer."""
    return [
        (
            *("parameters", "bare", "ms", "with the anchor", "ms"),
            *("to bare", "PyTorch, ms", "to ours"),
        ),
        *(
            (
                f"{row['tree']}, {int(row['parameters']) / 1e6:.1f} M",
                row["bare"],
                row["bare_ms"],
                row["ours"],
                row["ours_ms"],
                timing.shown(row, "ours_to_bare"),
                row["torch_ms"],
                timing.shown(row, "torch_to_ours"),
            )
            for row in found
        ),
    ]


def steps_table(found: list[measurements.Row]) -> list[markdown.Cells]:
    """Return a row for each experiment whose whole step was timed."""
    return [
        ("whole step", "batch", "bare", "ms", "with the anchor", "ms", "to bare"),
        *(
            (
                row["network"],
                row["batch_size"],
                row["bare"],
                timing.shown(row, "bare_ms"),
                row["ours"],
                timing.shown(row, "ours_ms"),
                timing.shown(row, "ratio"),
            )
            for row in found
        ),
    ]


def throughput_table(found: list[measurements.Row]) -> list[markdown.Cells]:
    """Return a row for each way to train an experiment."""
    *_, compiling = replicas.MEASURES
    return [
        ("network", "batch", "way", "runs", "examples a second", "seconds to compile"),
        *(
            (
                row["network"],
                row["batch_size"],
                row["way"],
                row["runs"],
                timing.shown(row, replicas.SPEED),
                row[compiling],
            )
            for row in found
        ),
    ]
