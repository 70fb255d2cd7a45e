"""What choose_strength shows: distances and pull ratios, and accuracy by strength."""

import numpy as np
import records
import report
from matplotlib.figure import Figure

SEEN = "loss", "pull ratio", "distance", "relative distance"  # the last axis, a step
LOSS, RATIO, NORM, RELATIVE = range(len(SEEN))


def at_ends(seen: np.ndarray, period: int) -> np.ndarray:
    """Means over the ends of all periods, (seeds, 4), of shape (seeds, steps, 4).

    Args:
      seen: what was seen at each step.
      period: the number of steps in each.
    """
    return records.as_written(seen[:, period - 1 :: period].mean(axis=1))


def table(of_ends: dict[str, np.ndarray]) -> str:
    """Return a Markdown table of means over seeds, of the ends of all periods.

    Args:
      of_ends: shape (seeds, 4) of each run, first the one to compare with.
    """
    ends = {name: x.mean(axis=0) for name, x in of_ends.items()}
    first = next(iter(ends))
    lines = [
        f"| run | distance | over that of {first} | relative distance | pull ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, x in ends.items():
        over = x[NORM] / ends[first][NORM]
        numbers = f"{x[NORM]:.4f} | {over:.2f} | {x[RELATIVE]:.4f} | {x[RATIO]:.2f}"
        lines.append(f"| {name} | {numbers} |")
    return "\n".join(lines) + "\n"


def draw_seen(panels: dict[str, dict[str, np.ndarray]], period: int) -> Figure:
    """Distance and pull ratio over some periods, the loss of the whole run.

    Args:
      panels: {title: {run: (seeds, steps, 4)}}.
      period: the number of steps in each.
    """
    steps = next(iter(next(iter(panels.values())).values())).shape[1]
    some = steps // 2 + np.arange(min(6 * period, steps // 2))
    block = steps // 20

    def row(x, take):
        return x, {
            title: {name: take(seen) for name, seen in runs.items()}
            for title, runs in panels.items()
        }

    def losses(seen):
        return seen[:, :, LOSS].reshape(len(seen), -1, block).mean(axis=2)

    rows = {
        "distance\n(norm of w - a)": row(some, lambda seen: seen[:, some, NORM]),
        "pull ratio\n(pull / step)": row(some, lambda seen: seen[:, some, RATIO]),
        f"loss (nats,\nmean of {block} steps)": row(np.arange(0, steps, block), losses),
    }
    figure = report.draw_rows(rows, "step", (8.4, 7.2))
    for axes in (*figure.axes[: len(panels)], *figure.axes[-len(panels) :]):
        axes.set_yscale("log")
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=2)
    return figure


def draw_scores(
    strengths: list[float], curves: dict[str, list[np.ndarray]], ylabel: str
) -> Figure:
    """Each curve, (seeds,) at each strength, against it in units of the rule's."""
    scores = {name: np.stack(values, axis=1) for name, values in curves.items()}
    figure = report.draw(strengths, {"": scores}, "strength / the rule's", ylabel)
    figure.axes[0].set_xscale("log")
    figure.axes[0].axvline(1, color="black", linewidth=0.8, label="the rule")
    figure.axes[0].legend()
    return figure
