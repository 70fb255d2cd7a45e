"""Statistics of a metrics table: the choice of learning rate, errors, widths.

A metrics table has the columns of `metrics.csv`, and a row for each run and epoch.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.records import run_files
from benchmarks.records.score import Score

CONFIDENCE = 0.95
MEAN_DIGITS = 5
RESAMPLES = 1000
SIGNS = 99_999  # draws of signs, where there are more of them than that
LATE = 0.1  # of the epochs, at the end: the published means are of 180 to 200


class Estimate(NamedTuple):
    """A mean over seeds, its standard error and the number of seeds."""

    mean: float
    error: float
    n: int


class Width(NamedTuple):
    """The range of learning rates around the best that are nearly as good.

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
        """Return the width in powers of ten."""
        return float(np.log10(self.high / self.low))


def estimate(values: np.ndarray) -> Estimate:
    """Return the mean and its standard error, which is NaN for one value."""
    n = len(values)
    error = stats.sem(values) if n > 1 else np.nan
    return Estimate(float(np.mean(values)), float(error), n)


class Condition(NamedTuple):
    """A batch size and a noise: optimizers are compared under the same."""

    batch_size: int
    noise: str

    def __str__(self) -> str:
        noise = "" if self.noise == "no noise" else f", {self.noise}"
        return f"batch {self.batch_size}{noise}"


def conditions(meta: dict[str, Any]) -> list[Condition]:
    """List the conditions of a run."""
    batch_sizes, noises = meta["experiment"]["batch_sizes"], meta["noises"]
    return [Condition(b, noise) for b in batch_sizes for noise in noises]


def label(optimizer: str, strength: float) -> str:
    """Name an optimizer at a strength, as it is compared."""
    return f"{optimizer}, strength {strength:g}"


def final(metrics: pd.DataFrame) -> pd.DataFrame:
    """Select the rows of the last epoch."""
    return metrics[metrics.epoch == metrics.epoch.max()]


def runs_of(
    metrics: pd.DataFrame, condition: Condition, optimizer: str
) -> pd.DataFrame:
    """Select the rows of an optimizer under a condition."""
    return metrics[
        (metrics.batch_size == condition.batch_size)
        & (metrics.noise == condition.noise)
        & (metrics.optimizer == optimizer)
    ]


def best_trial(runs: pd.DataFrame, score: Score) -> int:
    """Return the trial with the best mean score on validation.

    Of equal trials it is the one with the lowest learning rate. Means are rounded, so
    that equal numbers of correct images give equal means.
    """
    measured = f"validation_{score.name}"
    trials = runs.groupby("trial", as_index=False)[[measured, "learning_rate"]].mean()
    trials = trials.round({measured: MEAN_DIGITS})
    best = trials.sort_values(
        [measured, "learning_rate"], ascending=[not score.higher, True]
    )
    return int(best.trial.iloc[0])


def like_best(runs: pd.DataFrame, score: Score) -> pd.DataFrame:
    """Return the runs that share the best trial's numbers, the learning rate aside."""
    numbers = runs[run_files.own_numbers(runs)]
    best = numbers[runs.trial == best_trial(runs, score)].iloc[0]
    return runs[((numbers == best) | (numbers.isna() & best.isna())).all(axis=1)]


def validation_curve(runs: pd.DataFrame, score: Score) -> pd.DataFrame:
    """Return validation scores: a row a learning rate, increasing, a column a seed."""
    return (
        like_best(runs, score)
        .pivot(index="learning_rate", columns="seed", values=f"validation_{score.name}")
        .sort_index()
    )


def best_learning_rate(runs: pd.DataFrame, score: Score) -> float:
    """Return the learning rate of the best trial."""
    return float(runs[runs.trial == best_trial(runs, score)].learning_rate.iloc[0])


def final_scores(
    runs: pd.DataFrame, score: Score, measure: str | None = None
) -> np.ndarray:
    """Return a measure of the best trial on the test split, by seed.

    None is the score.
    """
    chosen = runs[runs.trial == best_trial(runs, score)]
    return np.asarray(chosen.sort_values("seed")[f"test_{measure or score.name}"])


def usable_width(rates: np.ndarray, gain: np.ndarray, tolerance: float) -> Width:
    """Find the contiguous range around the best rate within `tolerance` of its gain.

    An end is where the curve, linear in log10(learning rate) between the points of the
    grid, first falls below (best gain - tolerance); without such a crossing it is the
    end of the grid, and open.

    Args:
      rates: learning rates, increasing.
      gain: mean score on validation at each, more is better.
      tolerance: in the score's unit.
    """
    x = np.log10(rates)
    best = int(np.argmax(gain))
    threshold = gain[best] - tolerance

    def end(step: int) -> tuple[float, bool]:
        inside = best
        while 0 <= inside + step < len(x):
            outside = inside + step
            if gain[outside] < threshold:
                drop = gain[inside] - gain[outside]
                part = (gain[inside] - threshold) / drop
                return 10 ** (x[inside] + part * (x[outside] - x[inside])), False
            inside = outside
        return rates[inside], True

    (low, open_low), (high, open_high) = end(-1), end(+1)
    return Width(float(low), float(high), open_low, open_high)


def width_of(runs: pd.DataFrame, score: Score) -> Width:
    """Find the usable range of an optimizer's mean curve."""
    curve = validation_curve(runs, score)
    mean = score.gain(curve.to_numpy()).mean(axis=1).round(MEAN_DIGITS)
    return usable_width(curve.index.to_numpy(), mean, score.tolerance)


def half_width_of_decades(curve: pd.DataFrame, score: Score) -> float:
    """Return half of the confidence interval (Student's t) of the width in decades.

    Its standard error is that of a bootstrap over seeds, scaled so that for a mean it
    would be the usual one. `curve` is a `validation_curve`.
    """
    # Not scipy.stats.bootstrap: it refuses the one seed that some runs have.
    rates, gain = curve.index.to_numpy(), score.gain(curve.to_numpy())
    seeds = gain.shape[1]
    draws = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))
    means = gain[:, draws].mean(axis=2).round(MEAN_DIGITS).T
    widths = [usable_width(rates, mean, score.tolerance).decades for mean in means]
    error = np.std(widths) * np.sqrt(seeds / max(seeds - 1, 1))
    return half_width(Estimate(float(np.mean(widths)), float(error), seeds))


def fails_from(runs: pd.DataFrame, score: Score) -> float | None:
    """Return the lowest learning rate above the best at which a seed fails, or None.

    A run fails when its loss is not finite or its score on validation ends worse than
    `score.failed`.
    """
    runs = like_best(runs, score)
    ended = score.gain(runs[f"validation_{score.name}"])
    failed = runs.diverged | (ended < score.gain(score.failed))
    rates = runs.learning_rate[failed]
    rates = rates[rates > best_learning_rate(runs, score)]
    return None if rates.empty else float(rates.min())


def half_width(found: Estimate) -> float:
    """Return half of the confidence interval (Student's t) of a mean over seeds."""
    if found.n < 2:
        return np.inf
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, found.n - 1)
    return float(quantile * found.error)


def is_equal(difference: Estimate) -> bool:
    """Say whether the confidence interval of a paired difference contains 0."""
    return bool(abs(difference.mean) <= half_width(difference))


def difference(runs: pd.DataFrame, baseline: pd.DataFrame, score: Score) -> Estimate:
    """Return the paired difference of test scores, each method at its best trial."""
    return estimate(final_scores(runs, score) - final_scores(baseline, score))


def late_scores(runs: pd.DataFrame, score: Score, part: float = LATE) -> np.ndarray:
    """Return the mean test score over the last evaluations, by seed."""
    last = runs[runs.epoch > (1 - part) * runs.epoch.max()]
    return np.asarray(last.groupby("seed")[f"test_{score.name}"].mean())


def p_value(pairs: np.ndarray) -> float:
    """Return the p value of a mean of 0 (t test); 1 where that can not be tested."""
    found = estimate(pairs)
    if found.n < 2 or found.error == 0:
        return float(found.n < 2 or found.mean == 0)
    return float(2 * stats.t.sf(abs(found.mean) / found.error, found.n - 1))


def permuted_p(pairs: np.ndarray) -> float:
    """Return the p value of a mean of 0 under all changes of the differences' signs.

    Where there are too many, signs are drawn, always the same ones; p is then at least
    2 / (SIGNS + 1).
    """
    if len(pairs) < 2:
        return 1.0
    found = stats.permutation_test(
        (pairs,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGNS,
        batch=SIGNS // 10,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def signs(n: int) -> str:
    """Say how `permuted_p` changes the signs of n differences."""
    return "all changes" if 2**n <= SIGNS else f"{SIGNS} draws"


def holm(p: list[float]) -> list[float]:
    """Correct p values for their number, as Holm does.

    The i-th smallest of n is multiplied by n - i; none falls below a smaller one's.
    """
    order = np.argsort(p)
    scaled = np.sort(p) * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(x) for x in corrected]


def visible(pairs: np.ndarray) -> float:
    """Return the mean that a two-sided t test finds with a power of 80 %."""
    if (n := len(pairs)) < 2:
        return np.inf
    both = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) + stats.t.ppf(0.8, n - 1)
    return float(both * stats.sem(pairs))
