"""What the committed files of results say, to be compared with the documents."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from benchmarks.records import run_files
from benchmarks.records.score import Score
from benchmarks.report import statistics
from benchmarks.report.statistics import Estimate

ROOT = Path(__file__).parents[3]
RESULTS = "benchmarks/results"
POWER = 0.8


class Run(NamedTuple):
    """The rows of the last evaluation of a run by method, and its meta data."""

    name: str
    metrics: dict[tuple[object, ...], Any]
    meta: dict[str, Any]

    @property
    def score(self):
        return Score(**self.meta["score"])

    @property
    def conditions(self):
        return statistics.conditions(self.meta)

    @property
    def minutes(self):
        return sum(self.meta["seconds"].values()) / 60

    def rows(self, method, batch=None, noise="no noise"):
        """At all learning rates; where there is one batch size it may be left out."""
        if batch is None:
            (batch,) = self.meta["experiment"]["batch_sizes"]
        return self.metrics[batch, noise, method]

    def test(self, method, *where, measure=None):
        """On the test split at the best rate, by seed."""
        return tested(self.name, method, where, measure)

    def mean(self, method, *where, measure=None):
        return statistics.estimate(self.test(method, *where, measure=measure))

    def minus(self, method, control, *where, measure=None):
        """Return the difference of two methods, paired by seed."""
        ours, theirs = (
            self.test(name, *where, measure=measure) for name in (method, control)
        )
        return statistics.estimate(ours - theirs)

    def best(self, method, *where):
        """Return the learning rate chosen on validation."""
        return statistics.best_learning_rate(self.rows(method, *where), self.score)

    def validation(self, method, *where):
        """Return the mean at each learning rate, a series with the rates as index."""
        curve = statistics.validation_curve(self.rows(method, *where), self.score)
        return curve.mean(axis=1).round(statistics.MEAN_DIGITS)

    def usable(self, method, *where):
        return statistics.width_of(self.rows(method, *where), self.score)

    def fails(self, method, *where):
        return statistics.fails_from(self.rows(method, *where), self.score)

    def contrasts(self, but=()):
        """Methods and controls: {(method, control, condition): their difference}."""
        return {
            (method, control, condition): self.minus(method, control, *condition)
            for method, control in self.meta["experiment"]["contrasts"]
            if (method, control) not in but
            for condition in self.conditions
        }

    def strengths(self):
        """Strengths above 0 minus strength 0 of the same form, by name."""
        return {
            name: self.minus(name, base)
            for name, base in self.meta["baselines"].items()
            if base and not name.endswith("strength 0")
        }

    def chosen(self):
        """How many configurations were chosen on validation and tested."""
        return len(self.meta["baselines"]) * len(self.conditions)


@cache
def tested(name, method, where, measure):
    found = run(name)
    return statistics.final_scores(found.rows(method, *where), found.score, measure)


@cache
def run(name):
    metrics, found = run_files.read_run(ROOT / RESULTS / name, f"benchmarks run {name}")
    by_method = statistics.final(metrics).groupby(["batch_size", "noise", "optimizer"])
    return Run(name, dict(iter(by_method)), found)


def interval(estimate: Estimate, unit=1.0):
    """Mean and half of the 95 % interval."""
    return estimate.mean / unit, statistics.half_width(estimate) / unit


def better(estimates):
    """How many lie above 0 with their 95 % interval."""
    return sum(x.mean > 0 and not statistics.is_equal(x) for x in estimates)


def worse(estimates):
    return sum(x.mean < 0 and not statistics.is_equal(x) for x in estimates)


def after_holm(estimates):
    """How many paired t tests are significant after Holm's correction."""
    found = [x for x in estimates if x.error > 0]
    p = np.sort([2 * stats.t.sf(abs(x.mean) / x.error, x.n - 1) for x in found])
    failed = p > (1 - statistics.CONFIDENCE) / (len(estimates) - np.arange(len(p)))
    return int(np.argmax(failed)) if failed.any() else len(p)


@cache
def standardised(n):
    """Return the mean, in standard deviations, that a t test of n sees with POWER."""

    def missing(size):
        reach = stats.t.ppf((1 + statistics.CONFIDENCE) / 2, n - 1)
        return stats.nct.sf(reach, n - 1, size * np.sqrt(n)) - POWER

    return optimize.brentq(missing, 0.1, 6)


def seen(estimates, quantile=0.5, unit=1.0):
    """Of several comparisons, a quantile of what each sees with the power."""
    sizes = [x.error * np.sqrt(x.n) * standardised(x.n) for x in estimates]
    return float(np.quantile(sizes, quantile)) / unit


@cache
def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def cells(path, *start, after="|"):
    """Cells of a table's first row that starts with these, after a heading."""
    _, found, rest = text(path).partition(after)
    assert found, f"{path} has no {after!r}"
    rows = [[x.strip() for x in line.split("|")[1:-1]] for line in rest.splitlines()]
    return next(row for row in rows if tuple(row[: len(start)]) == start)


def numbers(words):
    found = re.findall(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", words)
    return [float(x) for x in found]


def following(path, words):
    """Return the number that follows these words."""
    _, found, rest = text(path).partition(words)
    assert found, f"{path} has no {words!r}"
    return numbers(rest)[0]


@cache
def csv(path):
    return pd.read_csv(ROOT / path)


@cache
def meta(path):
    return json.loads(text(path))


def demo_minutes():
    """Return the least and the most minutes that `make demo` took on 2 CPU cores."""
    times = csv(f"{RESULTS}/demo/times.csv")
    assert set(times.cores) == {run("demo").meta["device"]["cores"]} == {2}
    minutes = [*times.seconds / 60, run("demo").minutes]
    return min(minutes), max(minutes)
