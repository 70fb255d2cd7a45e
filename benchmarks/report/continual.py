"""The report of tasks in series: how much of the old ones a method keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from benchmarks.records import files
from benchmarks.records.score import words
from benchmarks.report import figures, fronts, looks, notes, statistics
from benchmarks.report.fronts import Configuration, Study
from benchmarks.report.markdown import Cells, align

PRIMARY_WEIGHT = 0.5
FEW = 6  # seeds; of fewer, all signs agree in more than 5 % of the draws
TRAINED_PLAINLY = "is trained plainly at one rate that was not tuned"


def draw(folder: Path, metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write table.md and the fronts to a run's folder; return the table."""
    text = table(metrics, meta)
    files.write_text(folder / "table.md", text)
    figures.save(folder, "front", front(metrics, meta))
    return text


def table(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Write Markdown tables of the scores, the losses and the differences."""
    found, score = fronts.study(metrics, meta), words(meta["score"]["name"])
    parts = []
    for title, names in meta["experiment"]["groups"]:
        scores = [score_row(metrics, found, name, others(meta)) for name in names]
        losses = [loss_row(found, name, names[0]) for name in names]
        parts += [
            *(f"{title}: {score}, the new task with a weight.", ""),
            *align([header(meta), *scores]),
            *("", f"{title}: loss on the old tasks at equal gain on the new one.", ""),
            *align([LOSSES, *losses]),
            "",
        ]
    parts += [*differences(found, meta), "", explanation(meta), ""]
    return "\n".join([*parts, notes.origin(meta), ""])


def others(meta: dict[str, Any]) -> list[str]:
    """Name the scores that are of no task's data."""
    first = f"{meta['score']['name']}_"
    scores = [x for x in meta["score"]["labels"] if x.startswith(first)]
    return [x for x in scores if not x.removeprefix(first).isdigit()]


def header(meta: dict[str, Any]) -> Cells:
    """Return the header of the scores."""
    return (
        "method",
        *(f"weight {weight}" for weight in fronts.WEIGHTS),
        *("old tasks", "new task"),
        *(meta["score"]["labels"][other] for other in others(meta)),
        f"chosen for weight {PRIMARY_WEIGHT}",
    )


LOSSES: Cells = ("method", *(f"{gain:.0%} of the gain" for gain in fronts.GAINS))


def score_row(
    metrics: pd.DataFrame, found: Study, name: str, others: list[str]
) -> Cells:
    """Describe a method by its scores, at what validation chose for each weight."""
    means = [mean(weighted(found, name, weight)) for weight in fronts.WEIGHTS]
    chosen = fronts.best_mean(found, name, PRIMARY_WEIGHT)
    own = fronts.tested(found, name, chosen)
    numbers = fronts.describe(metrics, name, chosen)
    return (
        name,
        *means,
        f"{own.old_score.mean():.4f}",
        f"{own.new_score.mean():.4f}",
        *(mean(fronts.tested_other(metrics, name, chosen, x)) for x in others),
        ", ".join(f"{words(key)} {value}" for key, value in numbers.items()),
    )


def weighted(found: Study, name: str, weight: float) -> np.ndarray:
    """Return the mean score on the test split of what validation chose, by seed."""
    chosen = fronts.best_mean(found, name, weight)
    return np.asarray(fronts.mean_score(fronts.tested(found, name, chosen), weight))


def loss_row(found: Study, name: str, base: str) -> Cells:
    """Describe a method by its loss on the old tasks, and the gain that it made."""

    def cell(gain: float) -> str:
        chosen = fronts.at_gain(found, name, base, gain)
        if chosen is None:
            return "not reached"
        made = fronts.tested_gain(found, name, chosen, base).mean()
        own = np.asarray(fronts.tested(found, name, chosen).old_loss)
        return f"{mean(own)} ({made:.0%})"

    return name, *map(cell, fronts.GAINS)


def mean(by_seed: np.ndarray) -> str:
    """Write a mean over the test seeds with half of its confidence interval."""
    found = statistics.estimate(by_seed)
    return f"{found.mean:.4f} +- {statistics.half_width(found):.4f}"


DIFFERENCES: Cells = (
    "difference",
    *(f"weight {weight}" for weight in fronts.WEIGHTS),
    "p",
    "p, Holm",
    "p, permuted",
    "seen with 80 % power",
    *(f"old loss at {gain:.0%}" for gain in fronts.GAINS),
)


def differences(found: Study, meta: dict[str, Any]) -> list[str]:
    """Tabulate the contrasts, paired by test seed, with Holm's p for each method."""
    e = meta["experiment"]
    bases = {name: names[0] for _, names in e["groups"] for name in names}
    primary = [(*pair,) for pair in e["primary"]]
    rows: list[Cells] = []
    for method in dict.fromkeys(first for first, _ in e["contrasts"]):
        peers = [peer for first, peer in e["contrasts"] if first == method]
        of_peers = {peer: score_pairs(found, method, peer) for peer in peers}
        p = [statistics.p_value(pairs[PRIMARY_WEIGHT]) for pairs in of_peers.values()]
        for (peer, pairs), one, corrected in zip(
            of_peers.items(), p, statistics.holm(p), strict=True
        ):
            rows.append(
                (
                    f"{method} - {peer}" + " (primary)" * ((method, peer) in primary),
                    *map(signed, pairs.values()),
                    *(f"{one:.2g}", f"{corrected:.2g}"),
                    f"{statistics.permuted_p(pairs[PRIMARY_WEIGHT]):.2g}",
                    f"{statistics.visible(pairs[PRIMARY_WEIGHT]):.4f}",
                    *(
                        loss_difference(found, method, peer, bases[method], gain)
                        for gain in fronts.GAINS
                    ),
                )
            )
    return align([DIFFERENCES, *rows])


def score_pairs(found: Study, method: str, peer: str) -> dict[float, np.ndarray]:
    """Return by weight the differences in the mean score, by test seed."""
    return {
        weight: weighted(found, method, weight) - weighted(found, peer, weight)
        for weight in fronts.WEIGHTS
    }


def loss_difference(
    found: Study, method: str, peer: str, base: str, gain: float
) -> str:
    """Write the difference in the loss on the old tasks at equal gain."""
    both = []
    for name in (method, peer):
        chosen = fronts.at_gain(found, name, base, gain)
        if chosen is None:
            return "-"
        both.append(np.asarray(fronts.tested(found, name, chosen).old_loss))
    return signed(both[0] - both[1])


def signed(pairs: np.ndarray) -> str:
    """Write a paired difference; * marks an interval without 0."""
    found = statistics.estimate(pairs)
    mark = "" if statistics.is_equal(found) else " *"
    return f"{found.mean:+.4f} +- {statistics.half_width(found):.4f}{mark}"


def explanation(meta: dict[str, Any]) -> str:
    """Say how the tables are to be read."""
    e = meta["experiment"]
    tested, is_given = e["seeds"] - e["tuning_seeds"], "weights" in e
    signs = statistics.signs(tested)
    least = f" It is at least {2 ** (1 - tested):.2g}, of so few seeds."
    return f"""\
{notes.size(meta)} {len(e["learning_rates"])} trials of each method,
evaluated every {e["evaluate_every"]} epoch(s) of the new task.

- The new task is the last one; the old ones are all before it, with equal weights. The
  first task {"was learned before, elsewhere" if is_given else TRAINED_PLAINLY}.
- Trial and epoch are chosen by the mean over {e["tuning_seeds"]} tuning seeds on the
  validation split; every number here is of the other {tested} seeds on the test split.
- +-: half of the {statistics.CONFIDENCE:.0%} interval (Student's t) over the test \
seeds. * marks a difference,
  paired by seed, whose interval is without 0.
- (edge): at an end of the values that were tried. At the weak end of a pull or a term
  a method is nearly the plain one.
- Gain: the fall of the loss on the new task, as a part of the largest that the first
  method of the group makes. At an equal gain the configuration with the lowest old
  loss is taken among those that reach it on validation; in brackets what it made of
  the gain on the test split.
- p: of a t test at weight {PRIMARY_WEIGHT}; Holm's is of these, over the differences \
of one method.
- p, permuted: of the same mean, by {signs} of the differences' signs;
  not corrected.{least * (tested < FEW)}
- With 80 % power a t test of this size finds the difference in the next column.
- primary: chosen before the run. All else is exploratory."""


def front(metrics: pd.DataFrame, meta: dict[str, Any]) -> Figure:
    """Draw the loss on the old tasks against the gain on the new one, a row a group.

    A point is what validation chooses at a level of the gain, on the test split.
    """
    found, groups = fronts.study(metrics, meta), meta["experiment"]["groups"]
    drawn, parts = figures.figure_of(groups, 1, 8.0)
    for part, (title, names) in zip(parts, groups, strict=True):
        axes = part.subplots()
        for name, style in looks.of(names):
            points = front_points(found, name, names[0])
            axes.errorbar(*points.T, label=name, capsize=2, **style)
        axes.set_xlabel(f"gain on the new task, as a part of that of {names[0]}")
        axes.set_ylabel("loss on the old tasks (nats)")
        axes.set_yscale("log")
        plain = PlainNumbers(minor_thresholds=(1, 0.4))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(plain)
        axes.grid(True, which="major", alpha=0.3)
        figures.finish(part, title, axes)
    e = meta["experiment"]
    tested = {"seeds": e["seeds"] - e["tuning_seeds"]}
    figures.head(drawn, meta | {"experiment": e | tested}, "bars")
    return drawn


class PlainNumbers(LogFormatter):
    """Label a logarithmic axis by numbers as they are read, such as 0.3."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def front_points(found: Study, name: str, base: str) -> np.ndarray:
    """Return gain, old loss and its standard error of each configuration of a front."""
    levels = [fronts.at_gain(found, name, base, gain) for gain in fronts.LEVELS]
    chosen: list[Configuration] = [each for each in dict.fromkeys(levels) if each]
    points = []
    for each in chosen:
        losses = statistics.estimate(
            np.asarray(fronts.tested(found, name, each).old_loss)
        )
        gain = fronts.tested_gain(found, name, each, base).mean()
        points.append((gain, losses.mean, losses.error))
    return np.asarray(points).reshape(-1, 3)
