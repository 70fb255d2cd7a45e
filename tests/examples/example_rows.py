"""The committed raw rows of the examples, and textbook formulas of them."""

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import stats

EXAMPLES = Path(__file__).parents[2] / "examples"
RESULTS = sorted((EXAMPLES / "results").glob("*.md"))
LABELS = "table", "method", "seed", "split", "score"


def read(name):
    """Read the rows of an example's csv."""
    with (EXAMPLES / "results" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def settings(row):
    """Read the numbers of a row's trial."""
    return {k: float(x) for k, x in row.items() if k not in LABELS and x}


def scores(rows, table, split="test"):
    """Read {method: {settings: scores in the order of the seeds}} of a table."""
    found: dict[str, dict[tuple[object, ...], dict[str, float]]] = {}
    for row in rows:
        if (row["table"], row["split"]) == (table, split):
            trial = tuple(settings(row).items())
            of_trial = found.setdefault(row["method"], {}).setdefault(trial, {})
            assert row["seed"] not in of_trial, "a seed twice"
            of_trial[row["seed"]] = float(row["score"])
    assert found, f"no rows of {table!r}"
    return {
        name: {k: np.array(list(x.values())) for k, x in of_trials.items()}
        for name, of_trials in found.items()
    }


def best_of(rows, table):
    """Read {method: scores} of a table of one setting a method, with the same seeds."""
    seeds: dict[str, list[str]] = {}
    for row in rows:
        if (row["table"], row["split"]) == (table, "test"):
            seeds.setdefault(row["method"], []).append(row["seed"])
    assert len(set(map(tuple, seeds.values()))) == 1, "other seeds, no pairs"
    found = scores(rows, table)
    assert all(len(x) == 1 for x in found.values()), "several settings of a method"
    return {name: next(iter(x.values())) for name, x in found.items()}


def half(x):
    """Half of the 95 % interval of the mean."""
    low, high = stats.t.interval(0.95, len(x) - 1, np.mean(x), stats.sem(x))
    return (high - low) / 2


def interval(x, y):
    """Paired by seed, Student's t, as the tables print it."""
    d = x - y
    low, high = stats.ttest_rel(x, y).confidence_interval() if d.any() else (0.0, 0.0)
    return f"{d.mean():+.4f} ({low:+.4f} to {high:+.4f})", bool(low <= 0 <= high)


def counted(text):
    """Read the seeds of a cell such as 0-9, or 0."""
    first, last = int(text.split("-")[0]), int(text.split("-")[-1])
    return {str(seed) for seed in range(first, last + 1)}


def minus_interpolated(setting):
    """Of EWC, the bits of both old texts minus those of weights that learned as much.

    Before, the interpolated weights and AdamW's are points of a path; between two of
    them it is a straight line.
    """
    rows = read("finetune_smollm2")
    tables = [scores(rows, x) for x in ("new text", "own samples", "descriptions")]
    points = {
        (name, trial): np.array([x[name][trial].item() for x in tables])
        for name, of_trials in tables[0].items()
        for trial in of_trials
    }
    ewc = points["EWC", (("setting", setting),)]
    path = [point for (name, _), point in points.items() if name != "EWC"]
    for before, after in pairwise(path):
        if after[0] <= ewc[0] <= before[0]:
            share = (before[0] - ewc[0]) / (before[0] - after[0])
            return (ewc - before - share * (after - before))[1:]
    raise AssertionError("EWC learned more, or less than nothing")
