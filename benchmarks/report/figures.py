"""The figures of a run, drawn from its metrics and meta data."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, NullFormatter

from benchmarks.records import files
from benchmarks.records.score import Score, count
from benchmarks.report import looks, statistics

MARGIN = 0.16  # of the height of the enlarged part, above the best
LEGEND_ENTRY = 2.1  # inches, at least
LEGEND_HANDLE, LEGEND_CHARACTER = 0.5, 0.065  # inches
COLUMNS = 3  # of panels that are read at the width of a page, at most
CHARACTERS = 11.3  # of a headline in an inch


def against_rate(
    metrics: pd.DataFrame, meta: dict[str, Any], conditions: list[statistics.Condition]
) -> Figure:
    """Draw the validation score against the learning rate, under some conditions.

    A row is a group and a column a condition. With one condition a second column
    enlarges the top. Where strengths are compared, a row is an optimizer of the first
    group, with a curve for each strength.
    """
    e, last = meta["experiment"], statistics.final(metrics)
    score, groups = Score(**meta["score"]), e["groups"]
    if e["strengths"]:
        groups = [
            (name, [statistics.label(name, x) for x in e["strengths"]])
            for name in groups[0][1]
        ]
    alone = len(conditions) == 1
    columns = conditions * (2 if alone else 1)
    drawn, parts = figure_of(groups, len(columns), 5.0 if alone else 3.2)
    by_trial = last.groupby(["batch_size", "noise", "optimizer", "trial"])
    means = by_trial[f"validation_{score.name}"].mean()
    best = means.max() if score.higher else means.min()
    for part, (title, names) in zip(parts, groups, strict=True):
        panels = part.subplots(1, len(columns), sharex=True)
        for axes, condition in zip(panels, columns, strict=True):
            for name, style in looks.of(names):
                runs = statistics.runs_of(last, condition, name)
                curve = statistics.validation_curve(runs, score)
                label = name.removeprefix(f"{title}, ")
                errorbars(axes, curve.index, list(curve.to_numpy()), label, style)
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("learning rate (before decay)")
            axes.grid(True, which="major", alpha=0.3)
            axes.set_title(str(condition))
            axes.set_ylim(*score.axis)
        if alone:
            ends = (best - score.gain(x) for x in (score.zoom, -MARGIN * score.zoom))
            panels[1].set_ylim(*sorted(ends))
            panels[1].set_title(f"{columns[0]}, {meta['wording']['zoomed']}")
        panels[0].set_ylabel(f"validation {score.labels[score.name]}")
        finish(part, title, panels[0])
    head(drawn, meta, "bars")
    return drawn


def strengths(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw the tuned score and the usable rates against the strength, a row a group."""
    e, last = meta["experiment"], statistics.final(metrics)
    score = Score(**meta["score"])
    (condition,) = statistics.conditions(meta)
    drawn, parts = figure_of(e["groups"], 2, 5.0)
    at = np.arange(len(e["strengths"]))
    for part, (title, names) in zip(parts, e["groups"], strict=True):
        panels = part.subplots(1, 2)
        for name, style in looks.of(names):
            runs = [
                statistics.runs_of(last, condition, statistics.label(name, x))
                for x in e["strengths"]
            ]
            tested = [statistics.final_scores(each, score) for each in runs]
            errorbars(panels[0], at, tested, name, style)
            highest = [statistics.width_of(each, score).high for each in runs]
            panels[1].plot(at, highest, label=name, **style)
        panels[0].set_ylabel(f"test {score.labels[score.name]}")
        panels[1].set_ylabel("largest usable learning rate")
        panels[1].set_yscale("log")
        for axes in panels:
            axes.set_xticks(at, [f"{x:g}" for x in e["strengths"]])
            axes.set_xlabel("strength at the first learning rate")
            axes.grid(True, which="major", alpha=0.3)
        panels[0].set_title("each at its own best learning rate")
        near = meta["wording"]["near"]
        panels[1].set_title(f"within {near} of the best, on validation")
        finish(part, title, panels[0])
    head(drawn, meta, "bars")
    return drawn


def curves(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw every measure against the epoch, a panel each, in rows for each group.

    Each method is at its best trial: on the train split dashed, on the test split solid
    (on validation, where the test split was used only once). Bands are standard errors.
    """
    e, score = meta["experiment"], Score(**meta["score"])
    condition = statistics.conditions(meta)[0]
    every = metrics.groupby("epoch")[f"test_{score.name}"].count()
    split = "test" if every.min() > 0 else "validation"
    columns = min(COLUMNS, len(score.labels))
    rows = -(-len(score.labels) // columns)
    drawn, parts = figure_of(e["groups"], columns, 5.0, rows)
    for part, (title, names) in zip(parts, e["groups"], strict=True):
        panels = part.subplots(rows, columns, squeeze=False).ravel()
        for axes, (measure, label) in zip(panels, score.labels.items(), strict=True):
            for name, style in looks.of(names):
                runs = statistics.runs_of(metrics, condition, name)
                trial = statistics.best_trial(statistics.final(runs), score)
                draw_splits(axes, runs[runs.trial == trial], measure, split, style)
            against_epoch(axes, measure, label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(part, title, max(panels, key=lambda axes: len(axes.lines)))
    head(drawn, meta, "bands")
    return drawn


def panels(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw test accuracy and loss against the epoch as published, a row a group.

    Bands are standard errors.
    """
    groups, score = meta["experiment"]["groups"], Score(**meta["score"])
    condition = statistics.conditions(meta)[0]
    drawn, parts = figure_of(groups, len(score.labels), 6.0)
    for part, (title, names) in zip(parts, groups, strict=True):
        row = part.subplots(1, len(score.labels))
        for axes, (measure, label) in zip(
            row, reversed(score.labels.items()), strict=True
        ):
            for name, style in looks.of(names):
                runs = statistics.runs_of(metrics, condition, name)
                line = {key: style[key] for key in ("color", "linestyle")}
                mean_and_band(axes, runs, f"test_{measure}", line, name)
            against_epoch(axes, measure, f"test {label}")
        finish(part, title, row[0])
    head(drawn, meta, "bands")
    return drawn


def draw_splits(
    axes: Axes, runs: pd.DataFrame, measure: str, split: str, style: dict[str, Any]
) -> None:
    """Draw a method's measure on the train split and another, where it has one."""
    for part_of, line in (("train", "--"), (split, "-")):
        if (column := f"{part_of}_{measure}") in runs:
            look = {"color": style["color"], "linestyle": line}
            label = f"{runs.optimizer.iloc[0]}, {part_of}"
            mean_and_band(axes, runs, column, look, label)


def mean_and_band(
    axes: Axes, runs: pd.DataFrame, column: str, style: dict[str, Any], label: str
) -> None:
    """Draw means over the seeds against the epoch, with their standard errors."""
    values = runs.pivot_table(
        index="epoch", columns="seed", values=column, dropna=False
    )
    estimates = [statistics.estimate(row) for row in values.to_numpy()]
    mean = np.asarray([estimate.mean for estimate in estimates])
    error = np.asarray([estimate.error for estimate in estimates])
    axes.plot(values.index, mean, label=label, linewidth=1.2, **style)
    axes.fill_between(
        values.index,
        mean - error,
        mean + error,
        color=style["color"],
        alpha=0.2,
        linewidth=0,
    )


def against_epoch(axes: Axes, measure: str, label: str) -> None:
    """Name the axes of a measure's curves; a loss has a logarithmic one."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.grid(True, which="major", alpha=0.3)
    if measure == "loss":
        axes.set_yscale("log")


def figure_of(
    groups: list[Any], columns: int, width: float, rows: int = 1
) -> tuple[Figure, Sequence[SubFigure]]:
    """Make a figure with a part for each group."""
    size = (width * columns, 4.1 * rows * len(groups) + 0.5)
    drawn = Figure(figsize=size, layout="constrained")
    return drawn, list(drawn.subfigures(len(groups), 1, squeeze=False)[:, 0])


def errorbars(
    axes: Axes, x: Any, values: list[np.ndarray], label: str, style: dict[str, Any]
) -> None:
    """Draw the mean and the standard error of each entry of `values`."""
    estimates = [statistics.estimate(each) for each in values]
    axes.errorbar(
        x,
        [estimate.mean for estimate in estimates],
        yerr=[estimate.error for estimate in estimates],
        label=label,
        capsize=2,
        **style,
    )


def finish(part: SubFigure, title: str, axes: Axes) -> None:
    """Add the title of a group, and a legend in as many columns as fit."""
    part.suptitle(title)
    handles, labels = axes.get_legend_handles_labels()
    inches = part.get_figure(root=True).get_figwidth()
    longest = LEGEND_HANDLE + LEGEND_CHARACTER * max(map(len, labels))
    columns = min(len(labels), int(inches / max(LEGEND_ENTRY, longest)))
    part.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False
    )


def head(drawn: Figure, meta: dict[str, Any], bars: str) -> None:
    """Say above the panels what all of them show."""
    e = meta["experiment"]
    train = f", {e['train']} train {meta['wording']['items']}" if e["train"] else ""
    text = (
        f"{meta['data_source']}{train}, {count(e['epochs'], 'epoch')}: mean of n = "
        f"{e['seeds']} seeds, {bars}: standard error"
    )
    drawn.suptitle(textwrap.fill(text, int(CHARACTERS * drawn.get_figwidth())))


def save(folder: Path, name: str, drawn: Figure) -> None:
    """Write a figure as PNG and SVG, with the same bytes for the same results."""
    files.write(folder / f"{name}.png", lambda path: drawn.savefig(path, dpi=150))
    undated = {"Date": None}
    with matplotlib.rc_context({"svg.hashsalt": "prox_optax"}):  # reproducible ids
        files.write(
            folder / f"{name}.svg", lambda path: drawn.savefig(path, metadata=undated)
        )
