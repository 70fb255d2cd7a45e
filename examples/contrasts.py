"""A method against its peers: robust means, two paired tests, Holm, power."""

import numpy as np
import report
from scipy import stats

CUT = 0.1  # of each end, for the trimmed mean
HEADER = """\
| {name} minus | mean (95 % interval) | median | trimmed mean | p, t test \
| p, permutation | p, Holm | seen with 80 % power |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def study(title: str, measure: str, scores: dict[str, np.ndarray], name: str) -> str:
    """Both tables: of all methods, and of `name` minus each other."""
    peers = [peer for peer in scores if peer != name]
    return f"{spread(title, measure, scores)}\n{contrasts(scores, name, *peers)}"


def spread(title: str, measure: str, scores: dict[str, np.ndarray]) -> str:
    """Tabulate mean, median and trimmed mean of scores, shape (seeds,), in Markdown."""
    text = (
        f"{title}: {measure}\n\n| method | mean +- half of the 95 % interval | median "
        "| trimmed mean |\n| --- | --- | --- | --- |\n"
    )
    for name, x in scores.items():
        text += (
            f"| {name} | {x.mean():.4f} +- {report.half_width(x):.4f} (n={len(x)}) "
            f"| {np.median(x):.4f} | {stats.trim_mean(x, CUT):.4f} |\n"
        )
    return text


def contrasts(scores: dict[str, np.ndarray], name: str, *peers: str) -> str:
    """Return a Markdown table of `name` minus each peer, paired by seed.

    Holm's correction is of the permutation test, over the peers. The last column is the
    difference that a t test at 5 % finds with a probability of 80 %.
    """
    pairs = {peer: scores[name] - scores[peer] for peer in peers}
    permuted = [permutation(x) for x in pairs.values()]
    text = HEADER.format(name=name)
    for peer, p, corrected in zip(pairs, permuted, holm(permuted), strict=True):
        x = pairs[peer]
        mean, low, high = report.paired_difference(scores[name], scores[peer])
        text += (
            f"| {peer} | {mean:+.4f} ({low:+.4f} to {high:+.4f}) "
            f"| {np.median(x):+.4f} | {stats.trim_mean(x, CUT):+.4f} "
            f"| {t_test(x):.2g} | {p:.2g} | {corrected:.2g} | {visible(x):.4f} |\n"
        )
    return text


def t_test(pairs: np.ndarray) -> float:
    """Return the p value of a mean of 0; 1 where all pairs are equal."""
    return stats.ttest_1samp(pairs, 0).pvalue if np.any(pairs) else 1.0


def permutation(pairs: np.ndarray) -> float:
    """Return the p value of the mean under 9,999 draws of random signs of the pairs."""
    test = stats.permutation_test(
        (pairs,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return test.pvalue


def holm(p: list[float]) -> list[float]:
    """Multiply the i-th smallest of n by n - i; none falls below a smaller one's."""
    order = np.argsort(p)
    scaled = np.sort(p) * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return list(corrected)


def visible(pairs: np.ndarray) -> float:
    """Return the mean that a two-sided t test at 5 % finds with a power of 80 %."""
    n = len(pairs)
    both = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
    return both * np.std(pairs, ddof=1) / np.sqrt(n)
