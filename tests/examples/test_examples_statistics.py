"""The examples' statistics, against hand-made numbers and textbooks."""

from itertools import product

import contrasts
import numpy as np
import pytest
import report
import tuning
from scipy import stats


def test_means_of_two_seeds_have_half_of_their_interval():
    """Scores 1 apart: an error of 0.5, times t = 12.7062 of one degree of freedom."""
    found = {"plain": np.array([0.0, 0.0]), "pulled": np.array([1.0, 2.0])}
    assert "| pulled | 1.5000 +- 6.3531 (n=2) | " in report.comparison("It", "", found)
    assert "| pulled | 1.5000 +- 6.3531 (n=2) | " in contrasts.spread("It", "", found)


def test_a_diverged_run_is_neither_chosen_nor_judged():
    trials = tuning.grid(rate=(0.1, 0.2, 0.3))
    scores = np.array([[0.5], [0.7], [np.nan]])
    assert tuning._chosen(trials, scores).best == {"rate": 0.2}
    found = {"a": np.array([1.0, np.nan]), "b": np.ones(2)}
    assert report.verdict(found, "a", "b").startswith("a and b cannot be compared")


def test_permutation_is_that_of_all_signs():
    """By hand: of 2^8 signs, the share with a mean as far from 0."""
    d = np.array([0.3, -0.1, 0.4, 0.25, -0.05, 0.6, 0.15, 0.02])
    means = [np.mean(d * signs) for signs in product((1, -1), repeat=8)]
    share = np.mean(np.abs(means) >= abs(d.mean()) - 1e-12)
    np.testing.assert_allclose(contrasts.permutation(d), share, rtol=1e-12)


def test_holm_is_the_textbooks():
    """Holm 1979: 4 x 0.01, then 3 x 0.02, 2 x 0.03 not below it, and 0.2 alone."""
    corrected = contrasts.holm([0.03, 0.01, 0.2, 0.02])
    np.testing.assert_allclose(corrected, [0.06, 0.04, 0.2, 0.06], rtol=1e-12)


@pytest.mark.parametrize("n", [10, 40, 192])
def test_visible_difference_is_found_in_80_of_100(n):
    """The power of the t test, by the noncentral t; the formula is an approximation."""
    d = np.random.default_rng(0).normal(size=n)
    shift = contrasts.visible(d) / stats.sem(d)
    limit = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    assert abs(power - 0.8) < 0.02
