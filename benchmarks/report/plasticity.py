"""The report of many tasks in series: does a network stay able to learn?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.records import files
from benchmarks.records.score import Score, count, words
from benchmarks.report import figures, fronts, looks, notes, statistics
from benchmarks.report.continual import mean, signed
from benchmarks.report.fronts import Configuration
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


def chosen(metrics: pd.DataFrame, meta: dict[str, Any]) -> dict[str, int]:
    """Return each optimizer's trial with the best mean over the tuning seeds."""
    e, score = meta["experiment"], Score(**meta["score"])
    tunes = metrics.seed < e["first_seed"] + e["tuning_seeds"]
    by_optimizer = metrics[tunes].groupby("optimizer", sort=False)
    return {str(name): statistics.best_trial(x, score) for name, x in by_optimizer}


def shown_trials(
    metrics: pd.DataFrame, meta: dict[str, Any], optimizer: str
) -> tuple[int, ...]:
    """Return the one trial that a report shows, from the rows of the tuning seeds."""
    return (chosen(metrics, meta)[optimizer],)


def tested(metrics: pd.DataFrame, meta: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the test seeds' rows of the chosen trials by optimizer, seeds in order."""
    e = meta["experiment"]
    rows = metrics[metrics.seed >= e["first_seed"] + e["tuning_seeds"]]
    rows = rows.sort_values("seed")
    return {
        name: rows[(rows.optimizer == name) & (rows.trial == trial)]
        for name, trial in chosen(metrics, meta).items()
    }


def values(rows: pd.DataFrame, measure: str) -> np.ndarray:
    """Return a measure of the test seeds."""
    return np.asarray(rows[f"test_{measure}"])


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write Markdown tables of the online accuracies and of the differences."""
    found, parts = tested(metrics, meta), []
    few = tuple(meta["score"]["labels"][measure] for measure in (FIRST, LATE))
    header: Cells = ("method", "online accuracy", *few, "chosen")
    for title, names in meta["experiment"]["groups"]:
        rows = [row(metrics, found[name], name) for name in names]
        parts += [f"{title}:", "", *align([header, *rows]), ""]
    parts += [*differences(found, meta), "", explanation(meta), ""]
    return "\n".join([*parts, notes.origin(meta), ""])


def row(metrics: pd.DataFrame, own: pd.DataFrame, name: str) -> Cells:
    """Describe a method by its online accuracies and the chosen trial."""
    trial = Configuration(int(own.trial.iloc[0]), int(own.epoch.iloc[0]))
    numbers = fronts.describe(metrics, name, trial)
    del numbers["epoch"]  # all are evaluated after the last one
    return (
        name,
        *(mean(values(own, measure)) for measure in (SCORE, FIRST, LATE)),
        ", ".join(f"{words(key)} {value}" for key, value in numbers.items()),
    )


DIFFERENCES: Cells = (
    *("difference", "online accuracy", "p", "p, Holm", "seen with 80 % power"),
    "last fifth",
)


def differences(found: dict[str, pd.DataFrame], meta: dict[str, Any]) -> list[str]:
    """Tabulate the contrasts, paired by test seed."""
    e = meta["experiment"]
    primary = [(*pair,) for pair in e["primary"]]

    def pairs(measure: str) -> dict[tuple[str, str], np.ndarray]:
        return {
            (method, peer): values(found[method], measure)
            - values(found[peer], measure)
            for method, peer in e["contrasts"]
        }

    all_tasks, late = pairs(SCORE), pairs(LATE)
    p = [statistics.p_value(each) for each in all_tasks.values()]
    rows: list[Cells] = [
        (
            " - ".join(pair) + " (primary)" * (pair in primary),
            *(signed(all_tasks[pair]), f"{one:.2g}", f"{corrected:.2g}"),
            *(f"{statistics.visible(all_tasks[pair]):.4f}", signed(late[pair])),
        )
        for pair, one, corrected in zip(all_tasks, p, statistics.holm(p), strict=True)
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
    e, found = meta["experiment"], tested(metrics, meta)
    measures = [x for x in meta["score"]["labels"] if x.startswith(PART)]
    at = (np.arange(len(measures)) + 0.5) * e["tasks"] / len(measures)
    drawn, parts = figures.figure_of(e["groups"], 1, 8.0)
    for part, (title, names) in zip(parts, e["groups"], strict=True):
        axes = part.subplots()
        for name, style in looks.of(names):
            by_part = [values(found[name], measure) for measure in measures]
            figures.errorbars(axes, at, by_part, name, style)
        axes.set_xlabel(f"task, in parts of {e['tasks'] / len(measures):g}")
        axes.set_ylabel(meta["score"]["labels"][SCORE])
        axes.grid(True, which="major", alpha=0.3)
        figures.finish(part, title, axes)
    seeds = {"seeds": e["seeds"] - e["tuning_seeds"]}
    figures.head(drawn, meta | {"experiment": e | seeds}, "bars")
    return drawn
