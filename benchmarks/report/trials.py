"""The report of trials that some seeds chose and other seeds tested."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.records import files
from benchmarks.records.score import Score, count, words
from benchmarks.report import figures, fronts, looks, notes, statistics
from benchmarks.report.continual import mean, signed
from benchmarks.report.fronts import Configuration
from benchmarks.report.markdown import Cells, align


def draw(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write table.md and the figure to a run's folder; return the table."""
    text = table(metrics, meta)
    files.write_text(folder / "table.md", text)
    figures.save(folder, meta["score"]["name"], to_baselines(metrics, meta))
    return text


def chosen(metrics: pd.DataFrame, meta: dict[str, Any]) -> dict[str, int]:
    """Return each optimizer's trial with the best mean over the tuning seeds.

    It is the mean after the last epoch.
    """
    e, score = meta["experiment"], Score(**meta["score"])
    last = metrics[metrics.epoch == e["epochs"]]
    tunes = last.seed < e["first_seed"] + e["tuning_seeds"]
    by_optimizer = last[tunes].groupby("optimizer", sort=False)
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
    rows = rows[rows.epoch == e["epochs"]].sort_values("seed")
    return {
        name: rows[(rows.optimizer == name) & (rows.trial == trial)]
        for name, trial in chosen(metrics, meta).items()
    }


def values(rows: pd.DataFrame, measure: str) -> np.ndarray:
    """Return a measure of the test seeds."""
    return np.asarray(rows[f"test_{measure}"])


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write Markdown tables of the test scores and of the differences."""
    found, name = tested(metrics, meta), meta["score"]["name"]
    header: Cells = ("method", f"test {words(name)}", "chosen")
    parts = []
    for title, names in meta["experiment"]["groups"]:
        rows = [row(metrics, found[x], x, (name,)) for x in names]
        parts += [f"{title}:", "", *align([header, *rows]), ""]
    parts += [*differences(found, meta), "", explanation(meta), ""]
    return "\n".join([*parts, notes.origin(meta), ""])


def row(
    metrics: pd.DataFrame, own: pd.DataFrame, name: str, measures: tuple[str, ...]
) -> Cells:
    """Describe a method by some measures and by the chosen trial."""
    trial = Configuration(int(own.trial.iloc[0]), int(own.epoch.iloc[0]))
    numbers = fronts.describe(metrics, name, trial)
    del numbers["epoch"]  # all are evaluated after the last one
    return (
        name,
        *(mean(values(own, measure)) for measure in measures),
        ", ".join(f"{words(key)} {value}" for key, value in numbers.items()),
    )


class Difference(NamedTuple):
    """A contrast in a measure.

    Attributes:
      name: as the table has it.
      by_seed: the differences, paired by test seed.
      p: of a t test.
      corrected: the same by Holm's method, for the number of contrasts.
    """

    name: str
    by_seed: np.ndarray
    p: float
    corrected: float


def contrasts(
    found: dict[str, pd.DataFrame], meta: dict[str, Any], measure: str
) -> list[Difference]:
    """Compare the methods of each contrast of an experiment in a measure."""
    e = meta["experiment"]
    primary = [(*pair,) for pair in e["primary"]]
    pairs = {
        (method, peer): values(found[method], measure) - values(found[peer], measure)
        for method, peer in e["contrasts"]
    }
    p = [statistics.p_value(each) for each in pairs.values()]
    return [
        Difference(" - ".join(pair) + " (primary)" * (pair in primary), by_seed, *both)
        for (pair, by_seed), both in zip(
            pairs.items(), zip(p, statistics.holm(p), strict=True), strict=True
        )
    ]


def differences(found: dict[str, pd.DataFrame], meta: dict[str, Any]) -> list[str]:
    """Tabulate the contrasts in the score, paired by test seed."""
    score = meta["score"]["name"]
    header: Cells = (
        *("difference", f"test {words(score)}", "p", "p, Holm", "p, permuted"),
        "seen with 80 % power",
    )
    rows: list[Cells] = [
        (
            each.name,
            *(signed(each.by_seed), f"{each.p:.2g}", f"{each.corrected:.2g}"),
            f"{statistics.permuted_p(each.by_seed):.2g}",
            f"{statistics.visible(each.by_seed):.4f}",
        )
        for each in contrasts(found, meta, score)
    ]
    return align([header, *rows])


def explanation(meta: dict[str, Any]) -> str:
    """Say how the tables are to be read."""
    e = meta["experiment"]
    return f"""\
{notes.size(meta)} {len(e["learning_rates"])} trials of each method.

- A trial is chosen by the mean over {count(e["tuning_seeds"], "tuning seed")} on the \
validation split; every number
  here is of the {tested_seeds(meta)} test seeds on the test split.
- +-: half of the {statistics.CONFIDENCE:.0%} interval (Student's t) over the test \
seeds. * marks a difference,
  paired by seed, whose interval is without 0.
- (edge): at an end of the values that were tried.
- p: of a t test; Holm's is over all differences. The permuted one is of the same mean,
  by {statistics.signs(tested_seeds(meta))} of the differences' signs, and not \
corrected. With 80 % power a t test
  of this size finds the difference in the last column.
- primary: chosen before the run. All else is exploratory."""


def tested_seeds(meta: dict[str, Any]) -> int:
    """Return the number of seeds that test."""
    return int(meta["experiment"]["seeds"] - meta["experiment"]["tuning_seeds"])


def to_baselines(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw the difference of each method to the first of its group, a row a group."""
    found, score = tested(metrics, meta), Score(**meta["score"])
    groups = meta["experiment"]["groups"]
    drawn, parts = figures.figure_of(groups, 1, 8.0)
    for part, (title, (base, *others)) in zip(parts, groups, strict=True):
        axes = part.subplots()
        for place, (name, style) in enumerate(looks.of(others)):
            pairs = values(found[name], score.name) - values(found[base], score.name)
            half = statistics.half_width(statistics.estimate(pairs))
            axes.errorbar(pairs.mean(), place, xerr=half, capsize=3, **style)
        axes.axvline(0, color="#777777", linewidth=1)
        axes.set_yticks(range(len(others)), others)
        axes.invert_yaxis()
        axes.set_xlabel(f"test {score.title}, minus {base}")
        axes.grid(True, axis="x", alpha=0.3)
        part.suptitle(title)
    drawn.suptitle(
        f"{meta['data_source']}\npaired, mean of n = {tested_seeds(meta)} test seeds, "
        f"bars: {statistics.CONFIDENCE:.0%} interval"
    )
    return drawn
