"""Statistics of a metrics table: the choice of learning rate, errors, widths.

A metrics table has a row a run, with the columns of `benchmarks.results.COLUMNS`.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

WIDTH_TOLERANCE = 0.01
FAILED_BELOW = 0.5
CONFIDENCE = 0.95
MEAN_DIGITS = 5
RESAMPLES = 1000
LATE = 0.1  # of the epochs: the published means are of the epochs 180 to 200


class Estimate(NamedTuple):
    """A mean over seeds, its standard error and the number of seeds."""

    mean: float
    error: float
    n: int


class Width(NamedTuple):
    """The learning rates around the best that are nearly as good.

    Attributes:
      low, high: ends of the range.
      open_low, open_high: whether the range may go on beyond the grid.
    """

    low: float
    high: float
    open_low: bool
    open_high: bool

    @property
    def decades(self) -> float:
        return float(np.log10(self.high / self.low))


def estimate(values: np.ndarray) -> Estimate:
    """Mean and standard error; the error of one value is NaN."""
    n = len(values)
    error = np.std(values, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Estimate(float(np.mean(values)), float(error), n)


class Condition(NamedTuple):
    """Under which optimizers are compared."""

    batch_size: int
    noise: str

    def __str__(self) -> str:
        noise = "" if self.noise == "no noise" else f", {self.noise}"
        return f"batch {self.batch_size}{noise}"


def conditions(meta: dict[str, Any]) -> list[Condition]:
    """All of a run."""
    batch_sizes, noises = meta["experiment"]["batch_sizes"], meta["noises"]
    return [Condition(b, noise) for b in batch_sizes for noise in noises]


def label(optimizer: str, strength: float) -> str:
    """Under which name an optimizer is compared at a strength."""
    return f"{optimizer}, strength {strength:g}"


def final(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last evaluation."""
    return metrics[metrics.epoch == metrics.epoch.max()]


def runs_of(
    metrics: pd.DataFrame, condition: Condition, optimizer: str
) -> pd.DataFrame:
    """The rows of an optimizer under a condition."""
    return metrics[
        (metrics.batch_size == condition.batch_size)
        & (metrics.noise == condition.noise)
        & (metrics.optimizer == optimizer)
    ]


def best_trial(runs: pd.DataFrame) -> int:
    """The highest mean validation accuracy; of equals, the lowest learning rate.

    Means are rounded, so that equal numbers of correct images give equal means.
    """
    trials = runs.groupby("trial", as_index=False)[
        ["validation_accuracy", "learning_rate"]
    ].mean()
    trials = trials.round({"validation_accuracy": MEAN_DIGITS})
    best = trials.sort_values(
        ["validation_accuracy", "learning_rate"], ascending=[False, True]
    )
    return int(best.trial.iloc[0])


def like_best(runs: pd.DataFrame) -> pd.DataFrame:
    """Of other numbers that were tried too, the runs with those of the best trial."""
    best = runs[runs.trial == best_trial(runs)].threshold.iloc[0]
    return runs[runs.threshold.isna() if np.isnan(best) else runs.threshold == best]


def validation_curve(runs: pd.DataFrame) -> pd.DataFrame:
    """Validation accuracy: a row a learning rate (increasing), a column a seed."""
    return (
        like_best(runs)
        .pivot(index="learning_rate", columns="seed", values="validation_accuracy")
        .sort_index()
    )


def best_learning_rate(runs: pd.DataFrame) -> float:
    """Of the best trial."""
    return float(runs[runs.trial == best_trial(runs)].learning_rate.iloc[0])


def test_accuracy(runs: pd.DataFrame) -> np.ndarray:
    """By seed, of the best trial."""
    chosen = runs[runs.trial == best_trial(runs)]
    return np.asarray(chosen.sort_values("seed").test_accuracy)


def usable_width(
    rates: np.ndarray, accuracy: np.ndarray, tolerance: float = WIDTH_TOLERANCE
) -> Width:
    """The contiguous range around the best within `tolerance` of its accuracy.

    An end is where the curve, linear in log10(learning rate) between the points of the
    grid, first falls below (best accuracy - tolerance); without such a crossing it is
    the end of the grid, and open.

    Args:
      rates: learning rates, increasing.
      accuracy: mean validation accuracy at each.
      tolerance: 0.01 is one point.
    """
    x = np.log10(rates)
    best = int(np.argmax(accuracy))
    threshold = accuracy[best] - tolerance

    def end(step: int) -> tuple[float, bool]:
        inside = best
        while 0 <= inside + step < len(x):
            outside = inside + step
            if accuracy[outside] < threshold:
                drop = accuracy[inside] - accuracy[outside]
                part = (accuracy[inside] - threshold) / drop
                return 10 ** (x[inside] + part * (x[outside] - x[inside])), False
            inside = outside
        return rates[inside], True

    (low, open_low), (high, open_high) = end(-1), end(+1)
    return Width(float(low), float(high), open_low, open_high)


def width_of(runs: pd.DataFrame) -> Width:
    """The usable width of an optimizer's mean curve."""
    curve = validation_curve(runs)
    mean = curve.to_numpy().mean(axis=1).round(MEAN_DIGITS)
    return usable_width(curve.index.to_numpy(), mean)


def width_error(rates: np.ndarray, accuracy: np.ndarray) -> float:
    """Standard error of the width in decades: a bootstrap over seeds.

    Args:
      rates: learning rates, shape (l,), increasing.
      accuracy: validation accuracy, shape (l, seeds).
    """
    seeds = accuracy.shape[1]
    draws = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    curves = accuracy[:, draws].mean(axis=2).round(MEAN_DIGITS).T
    return float(np.std([usable_width(rates, curve).decades for curve in curves]))


def fails_from(runs: pd.DataFrame) -> float | None:
    """The lowest learning rate above the best at which a seed fails; None if none does.

    A run fails when its loss is not finite or its validation accuracy ends below 0.5.
    """
    runs = like_best(runs)
    failed = runs.diverged | (runs.validation_accuracy < FAILED_BELOW)
    rates = runs.learning_rate[failed]
    rates = rates[rates > best_learning_rate(runs)]
    return None if rates.empty else float(rates.min())


def half_width(difference: Estimate) -> float:
    """Of the confidence interval (Student's t) of a paired difference."""
    if difference.n < 2:
        return np.inf
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, difference.n - 1)
    return float(quantile * difference.error)


def is_equal(difference: Estimate) -> bool:
    """Whether the confidence interval of a paired difference holds 0."""
    return bool(abs(difference.mean) <= half_width(difference))


def difference(runs: pd.DataFrame, baseline: pd.DataFrame) -> Estimate:
    """Of the test accuracies at each one's best trial, paired by seed."""
    return estimate(test_accuracy(runs) - test_accuracy(baseline))


def late_accuracy(runs: pd.DataFrame, part: float = LATE) -> np.ndarray:
    """Test accuracy by seed: the mean over the evaluations in the last part."""
    late = runs[runs.epoch > (1 - part) * runs.epoch.max()]
    return np.asarray(late.groupby("seed").test_accuracy.mean())
