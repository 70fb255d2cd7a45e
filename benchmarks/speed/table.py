"""The tables of what was timed, from the files alone."""

from pathlib import Path
from typing import Any

from benchmarks import report, results
from benchmarks.speed import lanes, rows, steps, timing, updates, ways
from benchmarks.traffic.methods import PERIOD

NOTES = f"""\
Medians of {timing.REPEATS} calls in turns within one process, with the least and the \
most; ratios are of
the pairs. Updates: one compiled program each, donated params and state, whole periods
of {PERIOD}, float32; PyTorch: an eager loop over the parameters, in place, from the \
same rule.
Steps: forward, backward and update of one lane in a scan, as `run` trains. Ways:
examples a second of all runs together: lanes of one program, processes of one lane each
on a core of its own, or a plain PyTorch loop on one batch that reads no data and
augments nothing. -: PyTorch is not installed; processes and PyTorch compile nothing
that is counted."""


def write(folder: Path, meta: dict[str, Any]) -> str:
    """All of them, as Markdown, to table.md."""
    device = meta["device"]
    versions = ", ".join(f"{name} {x}" for name, x in meta["versions"].items())
    parts = [
        *(
            "\n".join(report.align(cells(rows.read(folder / file))))
            for file, cells in (
                (updates.FILE, updates_table),
                (steps.FILE, steps_table),
                (ways.FILE, ways_table),
            )
        ),
        NOTES,
        f"`{meta['command']}` on {device['platform']} ({device['kind']}), "
        f"{device['cores']} cores; {versions}.",
    ]
    text = "\n\n".join(parts) + "\n"
    results.write_text(folder / "table.md", text)
    return text


def updates_table(found: list[rows.Row]) -> list[report.Row]:
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


def steps_table(found: list[rows.Row]) -> list[report.Row]:
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


def ways_table(found: list[rows.Row]) -> list[report.Row]:
    *_, compiling = lanes.MEASURES
    return [
        ("network", "batch", "way", "runs", "examples a second", "seconds to compile"),
        *(
            (
                row["network"],
                row["batch_size"],
                row["way"],
                row["runs"],
                timing.shown(row, lanes.MEASURES[0]),
                row[compiling],
            )
            for row in found
        ),
    ]
