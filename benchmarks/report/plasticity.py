"""The report of many tasks in series: does a network stay able to learn?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.records import files
from benchmarks.records.score import count
from benchmarks.report import figures, looks, notes, statistics, trials
from benchmarks.report.continual import signed
from benchmarks.report.markdown import Cells, align

SCORE, LATE, PART = "online_accuracy", "last_fifth", "part_"
"""Measures of all tasks and of the last fifth, and how those of a part begin."""
FIRST = f"{PART}1"


def is_of(meta: dict[str, Any]) -> bool:
    """Say whether a run has this report."""
    return bool(meta["score"]["name"] == SCORE)


def draw(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write table.md and the figure to a run's folder; return the table."""
    text = table(metrics, meta)
    files.write_text(folder / "table.md", text)
    figures.save(folder, SCORE, along(metrics, meta))
    return text


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write Markdown tables of the online accuracies and of the differences."""
    found, parts = trials.tested(metrics, meta), []
    few = tuple(meta["score"]["labels"][measure] for measure in (FIRST, LATE))
    header: Cells = ("method", "online accuracy", *few, "chosen")
    for title, names in meta["experiment"]["groups"]:
        measures = SCORE, FIRST, LATE
        rows = [trials.row(metrics, found[x], x, measures) for x in names]
        parts += [f"{title}:", "", *align([header, *rows]), ""]
    parts += [*differences(found, meta), "", explanation(meta), ""]
    return "\n".join([*parts, notes.origin(meta), ""])


DIFFERENCES: Cells = (
    *("difference", "online accuracy", "p", "p, Holm", "seen with 80 % power"),
    "last fifth",
)


def differences(found: dict[str, pd.DataFrame], meta: dict[str, Any]) -> list[str]:
    """Tabulate the contrasts, paired by test seed."""
    all_tasks, late = (trials.contrasts(found, meta, x) for x in (SCORE, LATE))
    rows: list[Cells] = [
        (
            each.name,
            *(signed(each.by_seed), f"{each.p:.2g}", f"{each.corrected:.2g}"),
            f"{statistics.visible(each.by_seed):.4f}",
            signed(of_late.by_seed),
        )
        for each, of_late in zip(all_tasks, late, strict=True)
    ]
    return align([DIFFERENCES, *rows])


def explanation(meta: dict[str, Any]) -> str:
    """Say how the tables are to be read."""
    e = meta["experiment"]
    return f"""\
{notes.size(meta)} {len(e["learning_rates"])} trials of each method.

- Online accuracy: of each batch before its update, the mean over the batches of all
  tasks, or of some. Guessing gives one over the number of classes.
- A trial is chosen by the mean over {count(e["tuning_seeds"], "tuning seed")}; every \
number here is of the
  {count(e["seeds"] - e["tuning_seeds"], "test seed")}.
- +-: half of the {statistics.CONFIDENCE:.0%} interval (Student's t) over the test \
seeds. * marks a difference,
  paired by seed, whose interval is without 0.
- (edge): at an end of the values that were tried.
- strength: of a penalty strength * (w - a)^2, where a is 0 or the initial weight.
  Decoupled is in the step, times the learning rate; to 0 that is AdamW.
- shrink and perturb: after each step all weights lose the part `shrink` and get normal
  noise of the standard deviation `perturb`.
- p: of a t test; Holm's is over all differences. With 80 % power a test of this size
  finds the difference in the next column.
- primary: chosen before the run. All else is exploratory."""


def along(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw the online accuracy along the series, a line a method, a row a group."""
    e, found = meta["experiment"], trials.tested(metrics, meta)
    measures = [x for x in meta["score"]["labels"] if x.startswith(PART)]
    at = (np.arange(len(measures)) + 0.5) * e["tasks"] / len(measures)
    drawn, parts = figures.figure_of(e["groups"], 1, 8.0)
    for part, (title, names) in zip(parts, e["groups"], strict=True):
        axes = part.subplots()
        for name, style in looks.of(names):
            by_part = [trials.values(found[name], measure) for measure in measures]
            figures.errorbars(axes, at, by_part, name, style)
        axes.set_xlabel(f"task, in parts of {e['tasks'] / len(measures):g}")
        axes.set_ylabel(meta["score"]["labels"][SCORE])
        axes.grid(True, which="major", alpha=0.3)
        figures.finish(part, title, axes)
    seeds = {"seeds": e["seeds"] - e["tuning_seeds"]}
    figures.head(drawn, meta | {"experiment": e | seeds}, "bars")
    return drawn
