"""The counts as a Markdown table and as CSV."""

import pandas as pd

from benchmarks.costs.traffic import count
from benchmarks.costs.traffic.budgets import DIGITS
from benchmarks.costs.traffic.count import Traffic
from benchmarks.costs.traffic.updates import COUNTED
from benchmarks.report.markdown import align

HEADER = (
    "target",
    "optimizer",
    "bare?",
    "ordinary",
    "re-anchoring",
    "temporaries",
    "copies",
    "kernels",
    "budget",
    "ok",
)
NOTES = """\
In arrays of the size of the parameters (float32), read and written by one update with
donated params and state, period 10; the largest over the target's chips and both trees:
ResNet-50 without its norms (60 leaves, 25.5 M) and GPT-2 small (148 leaves, 124.4 M).
Those without a budget are compiled for ResNet-50 alone. Ordinary: the anchor stays;
re-anchoring: it is refreshed, once in 10 steps; -: no branch. Copies: of arrays, on an
ordinary step. Kernels: what a GPU launches on an ordinary step and on a re-anchoring
one, copies too. An output that takes no donated buffer's place is over budget too.
Counted in the compiled programs, not timed."""


def markdown(rows: list[Traffic]) -> str:
    """Return a table with a row for each platform and optimizer.

    A row has the worst of the platform's chips and of the trees.
    """
    groups: dict[tuple[str, str], list[Traffic]] = {}
    for row in rows:
        groups.setdefault((row.platform, row.optimizer), []).append(row)
    lines = [line(group) for group in groups.values()]
    return "\n".join([*align([HEADER, *lines]), "", NOTES])


def line(group: list[Traffic]) -> tuple[str, ...]:
    platform, name = group[0].platform, group[0].optimizer
    chips = ", ".join(dict.fromkeys(row.chip for row in group))
    anchoring = [row.anchoring for row in group if row.anchoring is not None]
    limits = count.budget(platform, name)
    within = all(count.is_within(row) for row in group)
    return (
        chips,
        name,
        "yes" if COUNTED[name].kind == "bare" else "",
        number(max(row.ordinary for row in group)),
        number(max(anchoring)) if anchoring else "-",
        number(max(row.temporaries for row in group)),
        str(max(row.copies for row in group)),
        launched(group),
        ", ".join(map(number, limits)) if limits else "-",
        ("yes" if within else "NO") if limits else "-",
    )


def launched(group: list[Traffic]) -> str:
    """Return the most kernels of an ordinary step and of a re-anchoring one."""
    steps = [(row.kernels, row.anchoring_kernels) for row in group]
    found = [[n for n in step if n is not None] for step in zip(*steps, strict=True)]
    return ", ".join(str(max(each)) for each in found if each) or "-"


def number(arrays: float) -> str:
    return f"{arrays:.{DIGITS}f}"


def to_csv(rows: list[Traffic]) -> str:
    """Return the counts in full, with the verdict of each."""
    table = pd.DataFrame(rows).assign(within_budget=[*map(count.is_within, rows)])
    table = table.astype({"kernels": "Int64", "anchoring_kernels": "Int64"})
    csv: str = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    return csv
