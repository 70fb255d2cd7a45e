"""The table and the figure of a run, from its files alone."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks import analysis, results

# Okabe and Ito's colours, told apart by colour-blind readers, without the yellow,
# and with two greys for groups of nine.
COLOURS = (
    *("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#777777", "#AAAAAA"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 3)), (0, (8, 2)), "-", "--")
SIZES = (8, 6.5, 5.5, 4.5, 3.5, 3, 2.5, 4, 4)


def report(folder: Path, name: str) -> str:
    """Write table.md, accuracy.png and accuracy.svg to `folder`; return the table."""
    metrics, meta = results.read_run(folder, name)
    text = table(metrics, meta)
    results.write_text(folder / "table.md", text)
    drawn = figure(metrics, meta)
    save = drawn.savefig
    results.write(folder / "accuracy.png", lambda path: save(path, dpi=150))
    undated = {"Date": None}
    with matplotlib.rc_context({"svg.hashsalt": "prox_optax"}):  # reproducible ids
        results.write(
            folder / "accuracy.svg", lambda path: save(path, metadata=undated)
        )
    return text


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """A Markdown table a batch size, a row an optimizer, and how to read them."""
    header = (
        "optimizer",
        "best rate",
        "test accuracy",
        f"minus {_baseline(meta)} (paired)",
        "usable rates",
        "decades",
        "fails from",
    )
    parts = []
    for batch_size in meta["experiment"]["batch_sizes"]:
        rows = [_row(metrics, meta, batch_size, name) for name in _optimizers(meta)]
        parts += [f"Batch {batch_size}:", "", *_align([header, *rows]), ""]
    return "\n".join([*parts, notes(metrics, meta), ""])


def _optimizers(meta: dict[str, Any]) -> list[str]:
    """Every optimizer once, the baseline first."""
    return list(meta["trials"])


def _baseline(meta: dict[str, Any]) -> str:
    return _optimizers(meta)[0]


def _row(
    metrics: pd.DataFrame, meta: dict[str, Any], batch_size: int, name: str
) -> tuple[str, ...]:
    runs = analysis.runs_of(metrics, batch_size, name)
    baseline = analysis.runs_of(metrics, batch_size, _baseline(meta))
    score = analysis.estimate(analysis.test_accuracy(runs))
    curve = analysis.validation_curve(runs)
    rates, by_seed = curve.index.to_numpy(), curve.to_numpy()
    mean = by_seed.mean(axis=1).round(analysis.MEAN_DIGITS)
    width = analysis.usable_width(rates, mean)
    low = ("<=" if width.open_low else "") + f"{width.low:.2g}"
    high = (">=" if width.open_high else "") + f"{width.high:.2g}"
    prefix = ">=" if width.open_low or width.open_high else ""
    fails = analysis.fails_from(runs)
    return (
        name,
        f"{analysis.best_learning_rate(runs):.3g}",
        f"{score.mean:.4f} +- {score.error:.4f} (n={score.n})",
        "-" if name == _baseline(meta) else _difference(runs, baseline),
        f"{low} to {high}",
        f"{prefix}{width.decades:.2f} +- {analysis.width_error(rates, by_seed):.2f}",
        "-" if fails is None else f"{fails:.3g}",
    )


def _difference(runs: pd.DataFrame, baseline: pd.DataFrame) -> str:
    pairs = analysis.test_accuracy(runs) - analysis.test_accuracy(baseline)
    difference = analysis.estimate(pairs)
    verdict = " equal" if analysis.is_equal(difference) else ""
    return f"{difference.mean:+.4f} +- {difference.error:.4f}{verdict}"


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of a Markdown table, the first a header, with columns of even width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], rule, *rows[1:])
    ]


def notes(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """How the numbers of the table are defined, and where they come from."""
    e, device, versions = meta["experiment"], meta["device"], meta["versions"]
    comparisons = (len(_optimizers(meta)) - 1) * len(e["batch_sizes"])
    seconds, trials = meta["seconds"], len(e["learning_rates"])
    return f"""\
{meta["data_source"]}, {e["epochs"]} epochs, {trials} trials of each optimizer, \
{e["seeds"]} seeds; {e["validation"]} images for validation, \
{e["test"] or "the official ones"} for test.

- Best rate: the learning rate of the highest mean validation accuracy (of equals, the
  lowest). The test images are used once, at that rate.
- +-: standard error over seeds (initialisation and data order). It leaves out the
  sampling error of the one test set{_sampling_error(e)}.
- equal: not told apart. The {analysis.CONFIDENCE:.0%} interval (Student's t) of the \
difference to
  {_baseline(meta)}, paired by seed, contains 0. Of the {comparisons} comparisons made \
here one in
  twenty is told apart by chance.
- Usable rates: the contiguous range around the best in which mean validation accuracy
  stays within {analysis.WIDTH_TOLERANCE} of the best, interpolated linearly in \
log10(learning rate)
  between the points of the grid; <= and >= mark a range cut off by the grid. The
  error of its decades is a bootstrap over seeds.
- Fails from: the lowest learning rate above the best at which a seed's loss became NaN
  or infinite (diverged: {int(metrics.diverged.sum())} of {len(metrics)} runs) or its \
validation accuracy ended
  below {analysis.FAILED_BELOW}. An image with a NaN or infinite logit counts as wrong.

`{meta["command"]}` ({meta["lanes"]} lanes) on \
{device["platform"]}, {device["cores"]} cores: {seconds["compile"]} s to compile, \
{seconds["run"]} s to run; Python {versions["python"]}, jax {versions["jax"]}, \
flax {versions["flax"]}, optax {versions["optax"]}, \
prox_optax {versions["prox_optax"]}."""


def _sampling_error(experiment: dict[str, Any]) -> str:
    """Binomial standard error of an accuracy of 0.97 on the test set."""
    if experiment["test"] is None:
        return ""
    error = float(np.sqrt(0.97 * 0.03 / experiment["test"]))
    return f", {error:.3f} at an accuracy of 0.97"


def figure(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Validation accuracy against learning rate: a row a group, a column a batch size.

    With one batch size a second column shows the top.
    """
    e = meta["experiment"]
    sizes = e["batch_sizes"] * (2 if len(e["batch_sizes"]) == 1 else 1)
    rows, columns = len(e["groups"]), len(sizes)
    width = 5.0 if columns == 2 else 3.2
    drawn = Figure(figsize=(width * columns, 4.1 * rows + 0.5), layout="constrained")
    parts = drawn.subfigures(rows, 1, squeeze=False)[:, 0]
    best = metrics.groupby(["batch_size", "optimizer", "trial"]).validation_accuracy
    top = best.mean().max()
    for part, (title, names) in zip(parts, e["groups"], strict=True):
        panels = part.subplots(1, columns, sharex=True)
        for axes, batch_size in zip(panels, sizes, strict=True):
            _draw_curves(axes, metrics, batch_size, names)
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("learning rate (before decay)")
            axes.grid(True, which="major", alpha=0.3)
            axes.set_title(f"batch {batch_size}")
            axes.set_ylim(0, 1.02)
        if len(e["batch_sizes"]) == 1:
            panels[1].set_ylim(top - 0.05, top + 0.008)
            panels[1].set_title(f"batch {sizes[0]}, the top 5 percentage points")
        panels[0].set_ylabel("validation accuracy (fraction correct)")
        part.suptitle(title)
        handles, labels = panels[0].get_legend_handles_labels()
        part.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(len(names), 5 if columns == 2 else 10),
            frameon=False,
        )
    drawn.suptitle(
        f"{meta['data_source']}, {e['epochs']} epochs: mean of n = {e['seeds']} seeds, "
        "bars: standard error"
    )
    return drawn


def _draw_curves(
    axes: Axes, metrics: pd.DataFrame, batch_size: int, names: list[str]
) -> None:
    styles = zip(names, COLOURS, MARKERS, LINES, SIZES, strict=False)
    for name, colour, marker, line, size in styles:
        curve = analysis.validation_curve(analysis.runs_of(metrics, batch_size, name))
        estimates = [analysis.estimate(row) for row in curve.to_numpy()]
        axes.errorbar(
            curve.index,
            [estimate.mean for estimate in estimates],
            yerr=[estimate.error for estimate in estimates],
            label=name,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=size,
            linewidth=1.4,
            capsize=2,
        )
