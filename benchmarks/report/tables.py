"""The tables and the figures of a run, from its files alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.records import files, pooled, run_files
from benchmarks.records.files import DamagedError
from benchmarks.records.score import Score, count, words
from benchmarks.report import figures, statistics
from benchmarks.report.markdown import Cells, align
from benchmarks.report.statistics import Condition


def report(folder: Path, command: str) -> str:
    """Write table.md and the figures to `folder`; return the tables.

    `command` makes the results, for the error if there are none.

    Raises:
      FileNotFoundError: there is no finished run.
      DamagedError: a file is not what the run wrote.
    """
    if pooled.finished(folder):
        metrics, meta = pooled.read(folder, command)
    else:
        metrics, meta = run_files.read_run(folder, command)
    try:
        return draw(folder, metrics, meta)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise DamagedError(
            f"{folder / run_files.METRICS} and {folder / run_files.META} do not fit "
            f"together: one of them is damaged ({error!r}).\nPut them back from a "
            f"copy, or run anew: {command}"
        ) from error


def draw(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """The same, from what was read."""
    text = table(metrics, meta)
    files.write_text(folder / "table.md", text)
    if meta["experiment"]["strengths"]:
        save(folder, "strengths", figures.strengths(metrics, meta))
    if not has_one_trial(meta):
        save(folder, meta["score"]["name"], figures.against_rate(metrics, meta))
    if metrics.epoch.nunique() > 1:
        save(folder, "curves", figures.curves(metrics, meta))
    if "parts" in meta:
        save(folder, "panels", figures.panels(metrics, meta))
    return text


def save(folder: Path, name: str, drawn: Figure) -> None:
    """As PNG and SVG, the same bytes for the same results."""
    files.write(folder / f"{name}.png", lambda path: drawn.savefig(path, dpi=150))
    undated = {"Date": None}
    with matplotlib.rc_context({"svg.hashsalt": "prox_optax"}):  # reproducible ids
        files.write(
            folder / f"{name}.svg", lambda path: drawn.savefig(path, metadata=undated)
        )


def has_one_trial(meta: dict[str, Any]) -> bool:
    e = meta["experiment"]
    return len(e["learning_rates"]) == 1 and not e["strengths"]


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """A Markdown table a condition, a row a method, and how to read them."""
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
        parts += [*others(metrics, meta), ""]
    if meta["experiment"]["contrasts"]:
        parts += [*contrasts(metrics, meta), ""]
    notes_of: Callable[..., str] = fixed_notes if has_one_trial(meta) else tuned_notes
    return "\n".join([*parts, notes_of(metrics, meta), "", origin(meta), ""])


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
    """At the learning rate chosen on validation, and the rates nearly as good."""
    runs = statistics.runs_of(statistics.final(metrics), condition, name)
    curve = statistics.validation_curve(runs, score)
    width = statistics.width_of(runs, score)
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
        f"{prefix}{width.decades:.2f} +- {statistics.width_error(curve, score):.2f}",
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
    """At the only learning rate that was run."""
    runs = statistics.runs_of(metrics, condition, name)
    last = statistics.final(runs)
    return (
        name,
        f"{statistics.best_learning_rate(last, score):.3g}",
        mean(statistics.final_scores(last, score)),
        *against(metrics, score, condition, last, base),
        mean(statistics.late(runs, score)),
    )


def mean(by_seed: np.ndarray) -> str:
    estimate = statistics.estimate(by_seed)
    return f"{estimate.mean:.4f} +- {estimate.error:.4f} (n={estimate.n})"


def against(
    metrics: pd.DataFrame,
    score: Score,
    condition: Condition,
    runs: pd.DataFrame,
    base: str | None,
) -> Cells:
    """The difference to the base, and its name."""
    if base is None:
        return "-", "-"
    baseline = statistics.runs_of(statistics.final(metrics), condition, base)
    difference = statistics.difference(runs, baseline, score)
    verdict = " equal" if statistics.is_equal(difference) else ""
    return f"{signed(difference.mean)} +- {difference.error:.4f}{verdict}", base


def signed(value: float) -> str:
    """With a sign and 4 digits; no -0.0000."""
    return f"{round(value, 4) + 0.0:+.4f}"


def others(metrics: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """The measures on the test split with intervals, beside what needs no training."""
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


def contrasts(metrics: pd.DataFrame, meta: dict[str, Any]) -> list[str]:
    """Differences in the test score between methods and controls, all conditions."""
    columns, fixed = statistics.conditions(meta), has_one_trial(meta)
    score, last = Score(**meta["score"]), statistics.final(metrics)

    def scores(condition: Condition, name: str) -> np.ndarray:
        if fixed:
            return statistics.late(statistics.runs_of(metrics, condition, name), score)
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


def tuned_notes(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """How the numbers of the tables are defined."""
    e = meta["experiment"]
    last = statistics.final(metrics)
    score, wording = Score(**meta["score"]), meta["wording"]
    title = score.title
    best, worse = ("highest", "below") if score.higher else ("lowest", "above")
    pairs = {*meta["baselines"].items(), *map(tuple, e["contrasts"])}
    comparisons = (len(pairs) - 1) * len(statistics.conditions(meta))
    trials = len(e["learning_rates"])
    return f"""\
{size(meta)} {trials} trials of each optimizer.

- Best rate: the learning rate of the {best} mean validation {title} (of equals, the
  lowest). The test {wording["items"]} are used once, at that rate.
- +-: standard error over seeds (initialisation and data order). It leaves out the
  sampling error of the one test set{wording["sampling_error"]}.
- equal: not told apart. The {statistics.CONFIDENCE:.0%} interval (Student's t) of the \
difference to
  the base, paired by seed, contains 0. Of the {comparisons} comparisons made \
here one in
  twenty is told apart by chance; five seeds that agree by chance look certain.
- Usable rates: the contiguous range around the best in which mean validation {title}
  stays within {score.tolerance} of the best, interpolated linearly in \
log10(learning rate)
  between the points of the grid; <= and >= mark a range cut off by the grid. The
  error of its decades is a bootstrap over seeds.
- Fails from: the lowest learning rate above the best at which a seed's loss became NaN
  or infinite (diverged: {int(last.diverged.sum())} of {len(last)} runs) or its \
validation {title} ended
  {worse} {score.failed}. {wording["failures"]}"""


def fixed_notes(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """How the numbers of the tables are defined."""
    diverged = int(statistics.final(metrics).diverged.sum())
    return f"""\
{size(meta)} One learning rate each: nothing is chosen, and the
test {words(meta["score"]["name"])} is taken at every evaluation.

- +-: standard error over seeds (initialisation and data order).
- equal: not told apart. The {statistics.CONFIDENCE:.0%} interval (Student's t) of the \
difference to
  the base, paired by seed, contains 0.
- Diverged (a loss was NaN or infinite): {diverged} of {meta["lanes"]} runs."""


def size(meta: dict[str, Any]) -> str:
    e, wording = meta["experiment"], meta["wording"]
    train = f"{e['train']} train {wording['items']}, " if e["train"] else ""
    return (
        f"{meta['data_source']}, {train}{count(e['epochs'], 'epoch')}, "
        f"{e['seeds']} seeds; " + wording["setting"]
    )


def origin(meta: dict[str, Any]) -> str:
    """The command, the device, the time and the versions, a line a part."""
    if parts := meta.get("parts"):
        return "\n".join(["Parts:", "", *map(part_origin, parts)])
    device, versions, seconds = meta["device"], meta["versions"], meta["seconds"]
    return f"""\
`{meta["command"]}` ({meta["lanes"]} lanes) on \
{device["platform"]}, {device["cores"]} cores: {seconds["compile"]} s to compile, \
{seconds["run"]} s to run; Python {versions["python"]}, jax {versions["jax"]}, \
flax {versions["flax"]}, optax {versions["optax"]}, \
prox_optax {versions["prox_optax"]}."""


def part_origin(part: dict[str, Any]) -> str:
    """Seeds of a pooled experiment: when, where and how they were trained."""
    first, versions, seconds = part["first_seed"], part["versions"], part["seconds"]
    last = first + part["seeds"] - 1
    which = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return (
        f"- {which}: {part['date']}, "
        f"{part['device']['kind']}, commit {str(part['git_commit'])[:12]}, "
        f"{part['network']}, {seconds['compile']} s to compile, {seconds['run']} s "
        f"to run; jax {versions['jax']}, flax {versions['flax']}, "
        f"optax {versions['optax']}"
    )
