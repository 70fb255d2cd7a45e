"""The statistics of the tables, against curves and numbers made by hand."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.experiments import classify
from benchmarks.report import statistics
from benchmarks.report.statistics import Condition
from benchmarks.runs import metric_rows

ACCURACY = classify.DIGITS.score


@pytest.mark.parametrize(
    ("accuracy", "low", "high", "is_open"),
    [
        ([0.5, 0.9, 0.9, 0.9, 0.5], 10 ** (-3 - 1 / 40), 10 ** (-1 + 1 / 40), (0, 0)),
        ([0.9, 0.895, 0.9, 0.9, 0.5], 1e-4, 10 ** (-1 + 1 / 40), (1, 0)),
        ([0.5, 0.9, 0.9, 0.9, 0.9], 10 ** (-3 - 1 / 40), 1.0, (0, 1)),
        ([0.9, 0.5, 0.9, 0.5, 0.905], 10 ** (-0.01 / 0.405), 1.0, (0, 1)),
        ([0.1, 0.1, 0.9, 0.88, 0.1], 10 ** (-2 - 1 / 80), 10 ** (-1.5), (0, 0)),
        ([0.1, 0.1, 0.1, 0.1, 0.1], 1e-4, 1.0, (1, 1)),
    ],
    ids=["plateau", "open below", "open above", "not contiguous", "slope", "flat"],
)
def test_usable_width(accuracy, low, high, is_open):
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    width = statistics.usable_width(rates, np.array(accuracy), tolerance=0.01)
    np.testing.assert_allclose([width.low, width.high], [low, high])
    np.testing.assert_allclose(width.decades, np.log10(high / low))
    assert (width.open_low, width.open_high) == is_open


def test_half_width_of_decades():
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    same = np.repeat([[0.5], [0.9], [0.9], [0.9], [0.5]], 4, axis=1)

    def half(curve):
        table = pd.DataFrame(curve, index=rates)
        return statistics.half_width_of_decades(table, ACCURACY)

    assert half(same) < 1e-12  # the mean of equal widths
    apart = np.stack([same[:, 0], [0.5, 0.5, 0.9, 0.5, 0.5]], axis=1)
    # Two seeds: half of the draws mix them (narrow, as the dip of 0.2 exceeds 0.01),
    # a quarter each is one of them alone.
    wide, mixed, narrow = 2 + 1 / 20, 1 / 10, 1 / 20
    error = np.std([wide, mixed, mixed, narrow]) * 2**0.5  # n / (n - 1) = 2
    # 1000 draws: a relative error of about 1 / sqrt(1000), taken three times.
    np.testing.assert_allclose(half(apart), 12.7062 * error, rtol=0.1)
    assert half(same[:, :1]) == np.inf  # one seed says nothing of the others


def hand_made(validation, test):
    """Metrics of "sgd" at three rates and two seeds."""
    rows = [
        {
            **dict.fromkeys(metric_rows.columns(classify.DEMO), 0.0),
            "batch_size": 8,
            "noise": "no noise",
            "optimizer": "sgd",
            "trial": trial,
            "learning_rate": rate,
            "threshold": np.nan,
            "strength": np.nan,
            "seed": seed,
            "epoch": 10,
            "validation_accuracy": v,
            "test_accuracy": t,
            "diverged": False,
        }
        for trial, (rate, v, t) in enumerate(
            zip((0.1, 1.0, 10.0), validation, test, strict=True)
        )
        for seed in (1, 0)
    ]
    return pd.DataFrame(rows)


def test_learning_rate_is_chosen_on_validation():
    metrics = hand_made(validation=(0.7, 0.9, 0.8), test=(0.99, 0.5, 0.6))
    assert statistics.best_learning_rate(metrics, ACCURACY) == 1.0
    np.testing.assert_array_equal(
        statistics.final_scores(metrics, ACCURACY), [0.5, 0.5]
    )


def test_of_equal_trials_the_lowest_learning_rate_is_chosen():
    metrics = hand_made(validation=(0.7, 0.9, 0.9), test=(0, 0, 0))
    metrics["trial"] = 2 - metrics.trial
    assert statistics.best_learning_rate(metrics, ACCURACY) == 1.0


def test_a_curve_is_that_of_the_best_threshold():
    low = hand_made(validation=(0.1, 0.2, 0.3), test=(0, 0, 0)).assign(threshold=0.5)
    high = hand_made(validation=(0.4, 0.5, 0.4), test=(0, 0, 0)).assign(threshold=2.0)
    high["trial"] += 3
    both = pd.concat([low, high], ignore_index=True)
    assert statistics.best_trial(both, ACCURACY) == 4
    curve = statistics.validation_curve(both, ACCURACY)
    np.testing.assert_array_equal(curve.mean(axis=1), [0.4, 0.5, 0.4])


def test_runs_of_a_condition_and_an_optimizer():
    rows = hand_made((1, 1, 1), (0, 0, 0))
    metrics = pd.concat(
        [rows.assign(batch_size=b, noise=n) for b in (1, 8) for n in ("x", "y")]
    )
    runs = statistics.runs_of(metrics, Condition(8, "y"), "sgd")
    assert (set(runs.batch_size), set(runs.noise), len(runs)) == ({8}, {"y"}, 6)
    assert statistics.runs_of(metrics, Condition(8, "y"), "adam").empty


def test_the_final_rows_and_the_late_mean():
    rows = hand_made((1, 1, 1), (0, 0, 0))
    metrics = pd.concat(
        [rows.assign(epoch=e, test_accuracy=e / 100) for e in range(1, 21)]
    )
    assert set(statistics.final(metrics).epoch) == {20}
    one = metrics[metrics.trial == 0]
    np.testing.assert_allclose(statistics.late_scores(one, ACCURACY), [0.195, 0.195])


def test_conditions_name_the_noise_if_there_is_any():
    assert str(Condition(8, "no noise")) == "batch 8"
    assert str(Condition(8, "gaussian 0.1")) == "batch 8, gaussian 0.1"


def test_fails_from():
    metrics = hand_made(validation=(0.2, 0.9, 0.8), test=(0, 0, 0))
    assert statistics.fails_from(metrics, ACCURACY) is None
    metrics.loc[(metrics.learning_rate == 10) & (metrics.seed == 1), "diverged"] = True
    assert statistics.fails_from(metrics, ACCURACY) == 10.0


def test_estimates_and_equality():
    difference = statistics.estimate(np.array([0.01, 0.02, 0.03]))
    np.testing.assert_allclose(difference, (0.02, 0.01 / np.sqrt(3), 3))
    # t = 0.02 / (0.01 / sqrt(3)) = 3.46 < 4.30, the 95 % quantile at 2 degrees
    assert statistics.is_equal(difference)
    assert not statistics.is_equal(statistics.Estimate(0.02, 0.0046, 3))
    assert not statistics.is_equal(statistics.Estimate(0.02, 0.0, 3))


def test_differences_are_paired_by_seed():
    ours, base = (hand_made((0.1, 0.9, 0.2), (0, 0.5, 0)) for _ in range(2))
    ours.loc[ours.seed == 1, "test_accuracy"] = 0.7
    base.loc[base.seed == 1, "test_accuracy"] = 0.6
    difference = statistics.difference(ours, base, ACCURACY)
    np.testing.assert_allclose(difference, (0.05, 0.05, 2))
    # The 97.5 % quantile of Student's t with one degree of freedom is 12.706.
    np.testing.assert_allclose(statistics.half_width(difference), 0.6353, rtol=1e-4)


def test_a_run_that_ends_below_one_half_failed():
    metrics = hand_made(validation=(0.2, 0.9, 0.8), test=(0, 0, 0))
    low = (metrics.learning_rate == 10) & (metrics.seed == 1)
    metrics.loc[low, "validation_accuracy"] = 0.49
    assert statistics.fails_from(metrics, ACCURACY) == 10.0


def test_another_threshold_fails_for_itself():
    best = hand_made(validation=(0.8, 0.9, 0.8), test=(0, 0, 0)).assign(threshold=0.5)
    other = hand_made(validation=(0.8, 0.8, 0.1), test=(0, 0, 0)).assign(threshold=2.0)
    other["trial"] += 3
    both = pd.concat([best, other], ignore_index=True)
    assert statistics.fails_from(both, ACCURACY) is None


def test_means_that_differ_by_rounding_are_equal():
    metrics = hand_made(validation=(0.7, 0.9, 0.9), test=(0, 0, 0))
    metrics.loc[metrics.learning_rate == 10, "validation_accuracy"] += 1e-7
    assert statistics.best_learning_rate(metrics, ACCURACY) == 1.0


LOWER = ACCURACY._replace(higher=False, failed=0.5)


def test_where_less_is_better_the_lowest_is_chosen():
    metrics = hand_made(validation=(0.3, 0.1, 0.1), test=(0.9, 0.5, 0.1))
    assert statistics.best_learning_rate(metrics, LOWER) == 1.0
    np.testing.assert_array_equal(statistics.final_scores(metrics, LOWER), [0.5, 0.5])


def test_where_less_is_better_a_run_that_ends_above_failed():
    metrics = hand_made(validation=(0.8, 0.1, 0.4), test=(0, 0, 0))
    assert statistics.fails_from(metrics, LOWER) is None
    metrics.loc[metrics.learning_rate == 10, "validation_accuracy"] = 0.51
    assert statistics.fails_from(metrics, LOWER) == 10.0


def test_where_less_is_better_the_range_is_that_of_the_negative():
    more = hand_made(validation=(0.895, 0.9, 0.5), test=(0, 0, 0))
    less = more.assign(validation_accuracy=1 - more.validation_accuracy)
    ours, theirs = statistics.width_of(less, LOWER), statistics.width_of(more, ACCURACY)
    np.testing.assert_allclose(ours, theirs)
    curve = statistics.validation_curve(less, LOWER)
    assert statistics.half_width_of_decades(curve, LOWER) < 1e-12  # equal seeds


def test_another_measure_is_of_the_trial_that_the_score_chose():
    metrics = hand_made(validation=(0.7, 0.9, 0.8), test=(0, 0, 0))
    metrics["test_loss"] = metrics.learning_rate
    chosen = statistics.final_scores(metrics, ACCURACY, "loss")
    np.testing.assert_array_equal(chosen, [1.0, 1.0])
