"""What the examples share: seeds side by side, a table, a figure, two files."""

import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import cycle
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

PACKAGES = ("jax", "flax", "optax", "prox_optax")
STYLES = ("-", "--", "-.", ":")
STARTED = time.perf_counter()


def comparison(title: str, measure: str, scores: dict[str, np.ndarray]) -> str:
    """A Markdown table of means +- standard errors over seeds, the baseline first.

    Differences to the baseline are paired by seed; "equal" is not told apart by their
    95 % interval (Student's t).

    Args:
      title: what was measured on.
      measure: what the numbers are, with the unit.
      scores: shape (seeds,) of each method.
    """
    baseline = next(iter(scores))
    lines = [
        f"{title}: {measure}, mean +- standard error",
        "",
        f"| method | {measure} | minus {baseline} (95 % interval) |",
        "| --- | --- | --- |",
    ]
    for name, values in scores.items():
        n = len(values)
        error = np.std(values, ddof=1) / np.sqrt(n)
        difference = "-"
        if name != baseline:
            mean, low, high = paired_difference(values, scores[baseline])
            equal = ", equal" if low <= 0 <= high else ""
            difference = f"{mean:+.4f} ({low:+.4f} to {high:+.4f}){equal}"
        score = f"{values.mean():.4f} +- {error:.4f} (n={n})"
        lines.append(f"| {name} | {score} | {difference} |")
    return "\n".join(lines) + "\n"


def comparisons(measure: str, tables: dict[str, dict[str, np.ndarray]]) -> str:
    """The comparison of each title's scores, one below the other."""
    return "\n".join(comparison(title, measure, x) for title, x in tables.items())


def paired_difference(
    values: np.ndarray, baseline: np.ndarray
) -> tuple[float, float, float]:
    """Mean and 95 % interval (Student's t) of `values - baseline`, paired by seed."""
    pairs = values - baseline
    n = len(pairs)
    half = stats.t.ppf(0.975, n - 1) * np.std(pairs, ddof=1) / np.sqrt(n)
    return pairs.mean(), pairs.mean() - half, pairs.mean() + half


def verdict(scores: dict[str, np.ndarray], name: str, baseline: str) -> str:
    """A sentence: is `name` higher than `baseline`, lower, or not told apart?"""
    mean, low, high = paired_difference(scores[name], scores[baseline])
    told = "is higher than" if low > 0 else "is lower than"
    if low <= 0 <= high:
        told = "is not told apart from"
    return f"{name} {told} {baseline}: {mean:+.4f} ({low:+.4f} to {high:+.4f})."


def verdicts(scores: dict[str, np.ndarray], *pairs: tuple[str, str]) -> str:
    """A sentence for each (name, baseline)."""
    return " ".join(verdict(scores, *pair) for pair in pairs)


def verdicts_at(
    levels: dict[str, dict[str, np.ndarray]], *pairs: tuple[str, str]
) -> str:
    """The verdicts at each level, a Markdown list."""
    return "".join(f"- {k}: {verdicts(x, *pairs)}\n" for k, x in levels.items())


def draw(
    x: Sequence,
    panels: dict[str, dict[str, np.ndarray]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Mean and standard error over seeds; a panel is {method: (seeds, len(x))}."""
    figure = Figure(figsize=(3 + 3 * len(panels), 4), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, scores) in zip(row, panels.items(), strict=True):
        axes.set(title=title, xlabel=xlabel)
        for (name, values), style in zip(scores.items(), cycle(STYLES), strict=False):
            mean = values.mean(axis=0)
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            axes.plot(x, mean, style, label=name)
            axes.fill_between(x, mean - error, mean + error, alpha=0.2)
    row[0].set_ylabel(f"{ylabel}\n(mean, band: standard error)")
    row[0].legend()
    return figure


def draw_levels(
    levels: dict[str, dict[str, np.ndarray]], xlabel: str, ylabel: str
) -> Figure:
    """Mean and standard error over seeds at each level, scores of shape (seeds,)."""
    names = next(iter(levels.values()))
    scores = {name: np.stack([x[name] for x in levels.values()], 1) for name in names}
    return draw(list(levels), {"": scores}, xlabel, ylabel)


def show(name: str, text: str, figure: Figure, out: Path, tiny: bool) -> None:
    """Print the text; write it to NAME.md and the figure to NAME.png in `out`."""
    command = f"python examples/{name}.py" + " --tiny" * tiny
    device = jax.devices()[0]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    seconds = time.perf_counter() - STARTED
    text += (
        f"\n`{command}` on {device.platform} ({device.device_kind}), {seconds:.0f} s; "
        f"Python {platform.python_version()}, {versions}.\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    figure.savefig(out / f"{name}.png", dpi=150)
    print(text)
    print(f"Written to {out}: {name}.md, {name}.png")
