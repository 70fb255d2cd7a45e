"""What the examples share: seeds side by side, a table, a figure, their files."""

import platform
import time
from collections.abc import Collection
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import records
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

PACKAGES = ("jax", "flax", "optax", "prox_optax")
MARKERS_A_LINE = 8
# Colour, line and marker. The colours are Okabe and Ito's, which colour-blind readers
# can distinguish; no two of a figure differ by their colour alone.
OTHERS = (
    ("#D55E00", "--", "s"),
    ("#0072B2", "-.", "^"),
    ("#009E73", ":", "D"),
    ("#CC79A7", (0, (5, 1, 1, 1)), "v"),
    ("#E69F00", (0, (3, 3)), "P"),
    ("#56B4E9", (0, (8, 2)), "X"),
    ("#777777", "-", "<"),
    ("#AAAAAA", "--", ">"),
)
BASE = ("#000000", "-", "o")
EWC, L2_SP = ("#E69F00", "-.", "^"), ("#009E73", "-", "p")
LOOKS = {  # the same in every figure
    **dict.fromkeys(("plain", "DQN", "FedAvg", "data-parallel"), BASE),
    "before, interpolated, AdamW": BASE,
    **dict.fromkeys(("EWC", "a pull weighted by Fisher"), EWC),
    **dict.fromkeys(("L2-SP", "a plain pull"), L2_SP),
    "inner decay": OTHERS[2],
    "a lower rate alone": OTHERS[3],
    "proximal": OTHERS[4],
    "Lookahead": OTHERS[6],
    "average": OTHERS[7],
    "weight decay": ("#777777", (0, (8, 2)), "<"),
    "DiLoCo": ("#E69F00", (0, (8, 2)), ">"),
}
NONE = "no significant difference"


def comparison(title: str, measure: str, scores: dict[str, np.ndarray]) -> str:
    """Tabulate means over seeds in Markdown, the baseline first.

    Differences to the baseline are paired by seed; none is significant where their
    95 % interval (Student's t) contains 0.

    Args:
      title: what was measured on.
      measure: what the numbers are, with the unit.
      scores: shape (seeds,) of each method.
    """
    baseline = next(iter(scores))
    lines = [
        f"{title}: {measure}, mean +- half of the 95 % interval",
        "",
        f"| method | {measure} | minus {baseline} (95 % interval) |",
        "| --- | --- | --- |",
    ]
    for name, values in scores.items():
        n = len(values)
        difference = "-"
        if name != baseline:
            mean, low, high = paired_difference(values, scores[baseline])
            verdict = f", {NONE}" if low <= 0 <= high else ""
            difference = f"{mean:+.4f} ({low:+.4f} to {high:+.4f}){verdict}"
        score = f"{values.mean():.4f} +- {half_width(values):.4f} (n={n})"
        lines.append(f"| {name} | {score} | {difference} |")
    return "\n".join(lines) + "\n"


def comparisons(measure: str, tables: dict[str, dict[str, np.ndarray]]) -> str:
    """Write the comparison of each title's scores, one below the other."""
    return "\n".join(comparison(title, measure, x) for title, x in tables.items())


def paired_difference(
    values: np.ndarray, baseline: np.ndarray
) -> tuple[float, float, float]:
    """Mean and 95 % interval (Student's t) of `values - baseline`, paired by seed."""
    pairs = values - baseline
    half = half_width(pairs)
    return pairs.mean(), pairs.mean() - half, pairs.mean() + half


def half_width(values: np.ndarray) -> np.ndarray:
    """Return half of the 95 % interval (Student's t) of the mean over seeds."""
    n = len(values)
    return stats.t.ppf(0.975, n - 1) * np.std(values, axis=0, ddof=1) / np.sqrt(n)


def verdict(scores: dict[str, np.ndarray], name: str, baseline: str) -> str:
    """Say in a sentence whether `name` is higher than `baseline`, lower, or neither."""
    mean, low, high = paired_difference(scores[name], scores[baseline])
    interval = f"{mean:+.4f} ({low:+.4f} to {high:+.4f})."
    if not np.isfinite(mean):
        return f"{name} and {baseline} cannot be compared: {interval}"
    if low <= 0 <= high:
        return f"{name} and {baseline}: {NONE}, {interval}"
    told = "higher" if low > 0 else "lower"
    return f"{name} is {told} than {baseline}: {interval}"


def verdicts(scores: dict[str, np.ndarray], *pairs: tuple[str, str]) -> str:
    """Write a sentence for each (name, baseline)."""
    return " ".join(verdict(scores, *pair) for pair in pairs)


def verdicts_at(
    levels: dict[str, dict[str, np.ndarray]], *pairs: tuple[str, str]
) -> str:
    """Write the verdicts at each level, a Markdown list."""
    return "".join(f"- {k}: {verdicts(x, *pairs)}\n" for k, x in levels.items())


def draw(
    x: ArrayLike,
    panels: dict[str, dict[str, np.ndarray]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Mean and standard error over seeds; a panel is {method: (seeds, len(x))}."""
    row = {f"{ylabel}\n(mean, band: standard error)": (x, panels)}
    figure = draw_rows(row, xlabel, (3 + 3 * len(panels), 4))
    figure.axes[0].legend()
    return figure


def draw_rows(
    rows: dict[str, tuple[ArrayLike, dict[str, dict[str, np.ndarray]]]],
    xlabel: str,
    size: tuple[float, float],
) -> Figure:
    """Draw rows of panels, {ylabel: (x, panels)}, the titles above the first."""
    figure = Figure(figsize=size, layout="constrained")
    columns = len(next(iter(rows.values()))[1])
    grid = figure.subplots(len(rows), columns, sharey="row", squeeze=False)
    for line, (ylabel, (x, panels)) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(ylabel)
        for axes, scores in zip(line, panels.values(), strict=True):
            axes.set_xlabel(xlabel)
            _draw_means(axes, x, scores)
    for axes, title in zip(grid[0], panels, strict=True):
        axes.set_title(title)
    return figure


def _draw_means(axes: Axes, x: ArrayLike, scores: dict[str, np.ndarray]) -> None:
    every = -(-len(np.asarray(x)) // MARKERS_A_LINE)
    for name, style in looks(scores).items():
        mean = scores[name].mean(axis=0)
        error = scores[name].std(axis=0, ddof=1) / np.sqrt(len(scores[name]))
        axes.plot(x, mean, label=name, markevery=every, **style)
        low, high = mean - error, mean + error
        axes.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)


def looks(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return what Matplotlib takes for each method: its look, or another that is free.

    Free is one whose colour, and whose line and marker, no method in `LOOKS` has here.
    """
    known = {name: LOOKS[name] for name in names if name in LOOKS}
    taken = {part for look in known.values() for part in (look[0], look[1:])}
    free = cycle(x for x in OTHERS if not {x[0], x[1:]} & taken)
    found = {name: known.get(name) or next(free) for name in names}
    keys = "color", "linestyle", "marker"
    return {
        name: dict(zip(keys, look, strict=True), markersize=4)
        for name, look in found.items()
    }


def draw_levels(
    levels: dict[str, dict[str, np.ndarray]], xlabel: str, ylabel: str
) -> Figure:
    """Mean and standard error over seeds at each level, scores of shape (seeds,)."""
    names = next(iter(levels.values()))
    scores = {name: np.stack([x[name] for x in levels.values()], 1) for name in names}
    return draw(list(levels), {"": scores}, xlabel, ylabel)


def show(
    name: str,
    text: str,
    figure: Figure,
    raw: list[records.Record],
    out: Path,
    tiny: bool,
    data: str | None = None,
    **others: Figure,
) -> None:
    """Print the text; write NAME.md, the rows to NAME.csv, the figure to NAME.png.

    Args:
      name: of the script; with the data it is NAME.
      text: Markdown.
      figure: the main one.
      raw: the rows that the text was computed from.
      out: the folder.
      tiny: whether the command has this option.
      data: of its option, None without one.
      **others: more figures, written to NAME-KEY.png.
    """
    command = f"python examples/{name}.py" + f" --data {data}" * bool(data)
    command += " --tiny" * tiny
    device = jax.devices()[0]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    seconds = time.process_time()
    text += (
        f"\n`{command}` on {device.platform} ({device.device_kind}), {seconds:.0f} s "
        f"of CPU time; Python {platform.python_version()}, {versions}.\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    name = f"{name}-{data}" if data else name
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    records.write(out / f"{name}.csv", raw)
    figures = {name: figure, **{f"{name}-{key}": x for key, x in others.items()}}
    for stem, drawn in figures.items():
        drawn.savefig(out / f"{stem}.png", dpi=150)
    print(text)
    written = f"{name}.md", f"{name}.csv", *(f"{x}.png" for x in figures)
    print(f"Written to {out}: {', '.join(written)}")
