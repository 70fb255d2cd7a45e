"""The table and the figure of a run, from its files alone."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import analysis, results

# Okabe and Ito's colours, told apart by colour-blind readers, without the yellow.
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 3)), (0, (8, 2)))
SIZES = (8, 6.5, 5.5, 4.5, 3.5, 3, 2.5)


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
    """A Markdown table, a row an optimizer, and how to read it."""
    header = (
        "optimizer",
        "best rate",
        "test accuracy",
        f"minus {_baseline(meta)} (paired)",
        "usable rates",
        "decades",
        "fails from",
    )
    rows = [_row(metrics, meta, name) for name in _optimizers(meta)]
    return "\n".join([*_align([header, *rows]), "", notes(metrics, meta), ""])


def _optimizers(meta: dict[str, Any]) -> list[str]:
    return list(meta["experiment"]["optimizers"])


def _baseline(meta: dict[str, Any]) -> str:
    return _optimizers(meta)[0]


def _row(metrics: pd.DataFrame, meta: dict[str, Any], name: str) -> tuple[str, ...]:
    accuracy = analysis.test_accuracy(metrics, name)
    score = analysis.estimate(accuracy)
    curve = analysis.mean_validation(metrics, name)
    rates = curve.index.to_numpy()
    width = analysis.usable_width(rates, curve.to_numpy())
    by_seed = analysis.validation_curve(metrics, name).to_numpy()
    low = ("<=" if width.open_low else "") + f"{width.low:.2g}"
    high = (">=" if width.open_high else "") + f"{width.high:.2g}"
    prefix = ">=" if width.open_low or width.open_high else ""
    fails = analysis.fails_from(metrics, name)
    return (
        name,
        f"{analysis.best_learning_rate(metrics, name):.3g}",
        f"{score.mean:.4f} +- {score.error:.4f} (n={score.n})",
        _difference(accuracy, metrics, meta, name),
        f"{low} to {high}",
        f"{prefix}{width.decades:.2f} +- {analysis.width_error(rates, by_seed):.2f}",
        "-" if fails is None else f"{fails:.3g}",
    )


def _difference(
    accuracy: np.ndarray, metrics: pd.DataFrame, meta: dict[str, Any], name: str
) -> str:
    if name == _baseline(meta):
        return "-"
    baseline = analysis.test_accuracy(metrics, _baseline(meta))
    difference = analysis.estimate(accuracy - baseline)
    others = len(_optimizers(meta)) - 1
    verdict = " equal" if analysis.is_equal(difference, others) else ""
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
    others = len(_optimizers(meta)) - 1
    return f"""\
Digits (8x8), batch {e["batch_size"]}, {e["epochs"]} epochs, {e["seeds"]} seeds; \
{e["validation"]} images for validation, {e["test"]} for test.

- Best rate: the learning rate of the highest mean validation accuracy (of equals, the
  lowest). The test images are used once, at that rate.
- +-: standard error over seeds (initialisation and data order). It leaves out the
  sampling error of the one test set, {_sampling_error(e):.3f} at an accuracy of 0.97.
- equal: the {analysis.CONFIDENCE:.0%} interval (Student's t) of the difference to \
{_baseline(meta)}, paired by seed,
  contains 0, with the intervals widened for {others} comparisons (Bonferroni).
- Usable rates: the contiguous range around the best in which mean validation accuracy
  stays within {analysis.WIDTH_TOLERANCE} of the best, interpolated linearly in \
log10(learning rate)
  between the points of the grid; <= and >= mark a range cut off by the grid. The
  error of its decades is a bootstrap over seeds.
- Fails from: the lowest learning rate above the best at which a seed's loss became NaN
  or infinite (diverged: {int(metrics.diverged.sum())} of {len(metrics)} runs) or its \
validation accuracy ended
  below {analysis.FAILED_BELOW}. An image with a NaN or infinite logit counts as wrong.

`{meta["command"]}` ({meta["lanes"]} lanes x {meta["steps"]} steps) on \
{device["platform"]}, {device["cores"]} cores: {meta["compile_seconds"]} s to compile, \
{meta["run_seconds"]} s to run; Python {versions["python"]}, jax {versions["jax"]}, \
flax {versions["flax"]}, optax {versions["optax"]}, \
prox_optax {versions["prox_optax"]}."""


def _sampling_error(experiment: dict[str, Any]) -> float:
    """Binomial standard error of an accuracy of 0.97 on the test set."""
    return float(np.sqrt(0.97 * 0.03 / experiment["test"]))


def figure(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Validation accuracy against learning rate: all of it, and the top."""
    e = meta["experiment"]
    drawn = Figure(figsize=(10, 4.6), layout="constrained")
    whole, top = drawn.subplots(1, 2)
    best = max(analysis.mean_validation(metrics, o).max() for o in _optimizers(meta))
    for axes in (whole, top):
        _draw_curves(axes, metrics, meta)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate (before decay, log scale)")
        axes.grid(True, which="major", alpha=0.3)
    whole.set_ylabel("validation accuracy (fraction correct)")
    whole.set_ylim(0, 1.02)
    whole.set_title("all learning rates")
    top.set_ylim(best - 0.05, best + 0.008)
    top.set_title("the top 5 percentage points")
    drawn.legend(
        *whole.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(_optimizers(meta)),
        frameon=False,
    )
    drawn.suptitle(
        f"Digits (8x8), batch {e['batch_size']}, {e['epochs']} epochs: mean of "
        f"n = {e['seeds']} seeds, bars: standard error"
    )
    return drawn


def _draw_curves(axes: Axes, metrics: pd.DataFrame, meta: dict[str, Any]) -> None:
    styles = zip(_optimizers(meta), COLOURS, MARKERS, LINES, SIZES, strict=False)
    for name, colour, marker, line, size in styles:
        curve = analysis.validation_curve(metrics, name)
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
