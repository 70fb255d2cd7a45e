"""The report of a run, made from its files alone: tables and figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.records import files, pooled, run_files
from benchmarks.records.files import DamagedError
from benchmarks.records.score import Score, words
from benchmarks.report import figures, notes, staged, statistics
from benchmarks.report.markdown import Cells, align
from benchmarks.report.statistics import Condition


def report(folder: Path, command: str) -> str:
    """Write table.md and the figures to a run's folder; return the tables.

    `command` makes the results, for the error if there are none.

    Raises:
      FileNotFoundError: there is no finished run.
      DamagedError: a file is not what the run wrote.
    """
    if pooled.finished_parts(folder):
        metrics, meta = pooled.read(folder, command)
    else:
        metrics, meta = run_files.read_run(folder, command)
    try:
        return drawing(meta)(folder, metrics, meta)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DamagedError(
            f"{folder / run_files.METRICS} and {folder / run_files.META} do not fit "
            f"together: one of them is damaged ({error!r}).\nPut them back from a "
            f"copy, or run anew: {command}"
        ) from error


def drawing(meta: dict[str, Any]) -> Callable[..., str]:
    """Return what draws a run: one with tuning seeds has a report of its own."""
    found = staged.report_of(meta)
    return found.draw if found else draw


def draw(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write table.md and the figures of a run that was read; return the tables."""
    text = table(metrics, meta)
    files.write_text(folder / "table.md", text)
    if meta["experiment"]["strengths"]:
        figures.save(folder, "strengths", figures.strengths(metrics, meta))
    if not has_one_trial(meta):
        draw_against_rate(folder, metrics, meta)
    if metrics.epoch.nunique() > 1:
        figures.save(folder, "curves", figures.curves(metrics, meta))
    if "parts" in meta:
        figures.save(folder, "panels", figures.panels(metrics, meta))
    return text


def draw_against_rate(
    folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]
) -> None:
    """Draw the score against the rate; of many conditions also the first and last."""
    name, conditions = meta["score"]["name"], statistics.conditions(meta)
    figures.save(folder, name, figures.against_rate(metrics, meta, conditions))
    if len(conditions) > figures.COLUMNS:
        ends = [conditions[0], conditions[-1]]
        drawn = figures.against_rate(metrics, meta, ends)
        figures.save(folder, f"{name}-ends", drawn)


def has_one_trial(meta: dict[str, Any]) -> bool:
    """Say whether nothing was chosen, as each optimizer had one trial."""
    e = meta["experiment"]
    return len(e["learning_rates"]) == 1 and not e["strengths"]


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write a Markdown table for each condition, and how to read them."""
    score = Score(**meta["score"])
    rows_of, header = (fixed_row, FIXED) if has_one_trial(meta) else (tuned_row, TUNED)
    titles: Cells = tuple(cell.format(score=score.title) for cell in header)
    parts = []
    for condition in statistics.conditions(meta):
        rows = [
            rows_of(metrics, score, condition, name, base)
            for name, base in meta["baselines"].items()
        ]
        parts += [f"{str(condition).capitalize()}:", "", *align([titles, *rows]), ""]
    if score.besides or meta["references"]:
        parts += [*measures_table(metrics, meta), ""]
    if meta["experiment"]["contrasts"]:
        parts += [*contrasts_table(metrics, meta), ""]
    notes_of: Callable[..., str] = notes.fixed if has_one_trial(meta) else notes.tuned
    return "\n".join([*parts, notes_of(metrics, meta), "", notes.origin(meta), ""])


TUNED = (
    "optimizer",
    "best rate",
    "test {score}",
    "minus base (paired)",
    "base",
    "usable rates",
    "decades",
    "fails from",
)


def tuned_row(
    metrics: pd.DataFrame,
    score: Score,
    condition: Condition,
    name: str,
    base: str | None,
) -> Cells:
    """Describe a method at the learning rate that validation chose."""
    runs = statistics.runs_of(statistics.final(metrics), condition, name)
    curve = statistics.validation_curve(runs, score)
    width = statistics.width_of(runs, score)
    half = statistics.half_width_of_decades(curve, score)
    low = ("<=" if width.open_low else "") + f"{width.low:.2g}"
    high = (">=" if width.open_high else "") + f"{width.high:.2g}"
    prefix = ">=" if width.open_low or width.open_high else ""
    fails = statistics.fails_from(runs, score)
    return (
        name,
        f"{statistics.best_learning_rate(runs, score):.3g}",
        mean(statistics.final_scores(runs, score)),
        *against(metrics, score, condition, runs, base),
        f"{low} to {high}",
        f"{prefix}{width.decades:.2f} +- {half:.2f}",
        "-" if fails is None else f"{fails:.3g}",
    )


FIXED = (
    "optimizer",
    "rate",
    "test {score} at the end",
    "minus base (paired)",
    "base",
    f"mean of the last {statistics.LATE:.0%} of the epochs",
)


def fixed_row(
    metrics: pd.DataFrame,
    score: Score,
    condition: Condition,
    name: str,
    base: str | None,
) -> Cells:
    """Describe a method at the only learning rate that was run."""
    runs = statistics.runs_of(metrics, condition, name)
    last = statistics.final(runs)
    return (
        name,
        f"{statistics.best_learning_rate(last, score):.3g}",
        mean(statistics.final_scores(last, score)),
        *against(metrics, score, condition, last, base),
        mean(statistics.late_scores(runs, score)),
    )


def mean(by_seed: np.ndarray) -> str:
    """Write a mean over seeds with half of its confidence interval."""
    found = statistics.estimate(by_seed)
    return f"{found.mean:.4f} +- {statistics.half_width(found):.4f} (n={found.n})"


def against(
    metrics: pd.DataFrame,
    score: Score,
    condition: Condition,
    runs: pd.DataFrame,
    base: str | None,
) -> Cells:
    """Write the difference to the base with half of its interval, and the base."""
    if base is None:
        return "-", "-"
    baseline = statistics.runs_of(statistics.final(metrics), condition, base)
    difference = statistics.difference(runs, baseline, score)
    verdict = " equal" if statistics.is_equal(difference) else ""
    half = statistics.half_width(difference)
    return f"{signed(difference.mean)} +- {half:.4f}{verdict}", base


def signed(value: float) -> str:
    """Write a number with a sign and 4 digits, and 0 as +0.0000."""
    return f"{round(value, 4) + 0.0:+.4f}"


def measures_table(metrics: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """Tabulate the measures on the test split, beside those without training."""
    score, last = Score(**meta["score"]), statistics.final(metrics)
    measures = (score.name, *score.besides)

    def interval(runs: pd.DataFrame, measure: str) -> str:
        found = statistics.estimate(statistics.final_scores(runs, score, measure))
        return f"{found.mean:.4f} +- {statistics.half_width(found):.4f}"

    trained = [
        (f"{name}, {condition}", *(interval(runs, measure) for measure in measures))
        for condition in statistics.conditions(meta)
        for name in meta["baselines"]
        for runs in [statistics.runs_of(last, condition, name)]
    ]
    untrained = [
        (name, *(f"{values[x]:.4f}" if x in values else "-" for x in measures))
        for name, values in meta["references"].items()
    ]
    return [
        f"+- half of the {statistics.CONFIDENCE:.0%} interval over seeds, and what "
        "needs no training:",
        "",
        *align([("on the test split", *map(words, measures)), *trained, *untrained]),
    ]


def contrasts_table(metrics: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """Tabulate differences in the test score between methods and controls."""
    columns, fixed = statistics.conditions(meta), has_one_trial(meta)
    score, last = Score(**meta["score"]), statistics.final(metrics)

    def scores(condition: Condition, name: str) -> np.ndarray:
        if fixed:
            return statistics.late_scores(
                statistics.runs_of(metrics, condition, name), score
            )
        return statistics.final_scores(statistics.runs_of(last, condition, name), score)

    def cell(condition: Condition, method: str, control: str) -> str:
        difference = statistics.estimate(
            scores(condition, method) - scores(condition, control)
        )
        mark = "" if statistics.is_equal(difference) else " *"
        half = statistics.half_width(difference)
        return f"{signed(difference.mean)} +- {half:.4f}{mark}"

    pairs = [(*pair,) for pair in meta["experiment"]["contrasts"]]
    primary = [(*pair,) for pair in meta["experiment"].get("primary", ())]
    rows = [
        (
            f"{method} - {control}" + " (primary)" * ((method, control) in primary),
            *(cell(c, method, control) for c in columns),
        )
        for method, control in pairs
    ]
    which = (
        f"mean of the last {statistics.LATE:.0%} of the epochs"
        if fixed
        else "each at its own best rate"
    )
    return [
        f"Methods against controls: test {score.title}, {which}, paired;",
        f"+- is half of the {statistics.CONFIDENCE:.0%} interval, "
        "* marks one without 0:",
        "",
        *align([("difference", *map(str, columns)), *rows]),
    ]
