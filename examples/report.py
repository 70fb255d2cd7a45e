"""What the examples share: seeds side by side, a table, a figure, two files."""

import platform
import time
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

PACKAGES = ("jax", "flax", "optax", "prox_optax")
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


def show(name: str, command: str, text: str, figure: Figure, out: Path) -> None:
    """Print the text; write it to NAME.md and the figure to NAME.png in `out`."""
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
