"""Statistics of a metrics table: the choice of learning rate, errors, widths.

A metrics table has a row a run, with the columns of `benchmarks.results.COLUMNS`.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

WIDTH_TOLERANCE = 0.01
FAILED_BELOW = 0.5
CONFIDENCE = 0.95
MEAN_DIGITS = 5
RESAMPLES = 1000


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


def validation_curve(metrics: pd.DataFrame, optimizer: str) -> pd.DataFrame:
    """Validation accuracy: a row a learning rate (increasing), a column a seed."""
    runs = metrics[metrics.optimizer == optimizer]
    return runs.pivot(
        index="learning_rate", columns="seed", values="validation_accuracy"
    ).sort_index()


def mean_validation(metrics: pd.DataFrame, optimizer: str) -> pd.Series:
    """Mean validation accuracy over seeds, by learning rate (increasing).

    Rounded, so that equal numbers of correct images give equal means.
    """
    return validation_curve(metrics, optimizer).mean(axis=1).round(MEAN_DIGITS)


def best_learning_rate(metrics: pd.DataFrame, optimizer: str) -> float:
    """The highest mean validation accuracy; of equals, the lowest learning rate."""
    return float(mean_validation(metrics, optimizer).idxmax())


def test_accuracy(metrics: pd.DataFrame, optimizer: str) -> np.ndarray:
    """By seed, at the best learning rate."""
    best = best_learning_rate(metrics, optimizer)
    chosen = (metrics.optimizer == optimizer) & (metrics.learning_rate == best)
    return np.asarray(metrics[chosen].sort_values("seed").test_accuracy)


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


def fails_from(metrics: pd.DataFrame, optimizer: str) -> float | None:
    """The lowest learning rate above the best at which a seed fails; None if none does.

    A run fails when its loss is not finite or its validation accuracy ends below 0.5.
    """
    runs = metrics[metrics.optimizer == optimizer]
    failed = runs.diverged | (runs.validation_accuracy < FAILED_BELOW)
    rates = runs.learning_rate[failed]
    rates = rates[rates > best_learning_rate(metrics, optimizer)]
    return None if rates.empty else float(rates.min())


def is_equal(difference: Estimate, comparisons: int = 1) -> bool:
    """Whether the confidence interval (Student's t) of a difference contains 0.

    Args:
      difference: of n pairs.
      comparisons: the number made together; the intervals are widened so that all of
        them hold at once with 95 % confidence (Bonferroni).
    """
    if difference.n < 2:
        return True
    tail = (1 - CONFIDENCE) / (2 * comparisons)
    quantile = stats.t.ppf(1 - tail, difference.n - 1)
    return bool(abs(difference.mean) <= quantile * difference.error)
