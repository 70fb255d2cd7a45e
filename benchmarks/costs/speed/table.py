"""Tables of the measured speeds, from their files alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Column, with_range
from benchmarks.costs.speed import replicas, steps, throughput, updates
from benchmarks.costs.traffic.updates import PERIOD
from benchmarks.experiments import speed
from benchmarks.records import files, origin

NOTES = f"""\
Medians of {timing.REPEATS} calls with the least and the most, float32 throughout.

- Updates and whole steps are interleaved in one process; ratios are of the pairs.
- Updates: one compiled program each, donated params and state, periods of {PERIOD}.
  PyTorch: an eager loop over the parameters, in place, from the same rule.
- Whole steps: forward, backward and update of one run in a scan of {speed.STEPS} steps,
  as `run` trains, with the shuffle of so short an epoch.
- Throughput: examples a second of all runs together, one way after the other. Lanes are
  replicas that train in one program. Processes are a run each, on a core of its own.
  Steps are a scan, or a call each. PyTorch trains eagerly on one batch; it reads and
  augments nothing.
- Without PyTorch (`pip install torch`) its cells are - and its ways are missing."""


UPDATES: Sequence[Column] = (
    ("parameters", lambda row: f"{row['tree']}, {int(row['parameters']) / 1e6:.1f} M"),
    ("bare", "bare"),
    ("ms", "bare_ms"),
    ("with the anchor", "ours"),
    ("ms", "ours_ms"),
    ("to bare", with_range("ours_to_bare")),
    ("PyTorch, ms", "torch_ms"),
    ("to ours", with_range("torch_to_ours")),
)
STEPS: Sequence[Column] = (
    ("whole step", "network"),
    ("batch", "batch_size"),
    ("bare", "bare"),
    ("ms", with_range("bare_ms")),
    ("with the anchor", "ours"),
    ("ms", with_range("ours_ms")),
    ("to bare", with_range("ratio")),
)
THROUGHPUT: Sequence[Column] = (
    ("network", "network"),
    ("batch", "batch_size"),
    ("way", "way"),
    ("runs", "runs"),
    ("examples a second", with_range(replicas.SPEED)),
    ("seconds to compile", "compile_seconds"),
)


def write(folder: Path, meta: dict[str, Any]) -> str:
    """Write all tables as Markdown to table.md, and return them."""
    device = meta["device"]
    versions = origin.listed(meta["versions"])
    parts = [
        *(
            measurements.table(measurements.read(folder / file), columns)
            for file, columns in (
                (updates.FILE, UPDATES),
                (steps.FILE, STEPS),
                (throughput.FILE, THROUGHPUT),
            )
        ),
        NOTES,
        f"`{meta['command']}` on {device['platform']} ({device['kind']}), "
        f"{device['cores']} cores; {versions}.",
    ]
    text = "\n\n".join(parts) + "\n"
    files.write_text(folder / "table.md", text)
    return text
