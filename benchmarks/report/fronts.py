"""Old tasks against the new one: choices on the tuning seeds, scores on the others.

A configuration is a trial and an epoch of it. The mean over the tuning seeds, on the
validation split, chooses one; its scores are those of the other seeds on the test
split. The new task is the last one, the old ones are all before it.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.records import run_files

WEIGHTS = (0.25, 0.5, 0.75)  # of the new task, in the mean of the accuracies
GAINS = (0.5, 0.75, 0.9)  # of the base's gain on the new task
LEVELS = tuple(np.linspace(0.3, 1.0, 15))  # of that gain, along a front
MEASURES = ("old_loss", "new_loss", "old_score", "new_score")


class Configuration(NamedTuple):
    """A trial of a method, after so many epochs."""

    trial: int
    epoch: int


class Study(NamedTuple):
    """What a run measured, as far as the new task goes.

    Attributes:
      tuning: of each optimizer, trial and epoch the mean over the tuning seeds.
      tested: a row for each optimizer, trial, epoch and test seed.
      start: the epoch after which the new task begins.
      higher: whether a higher score is better.
    """

    tuning: pd.DataFrame
    tested: pd.DataFrame
    start: int
    higher: bool


def study(metrics: pd.DataFrame, meta: dict[str, Any]) -> Study:
    """Divide a metrics table into what chooses and what is tested."""
    e = meta["experiment"]
    start = (e["tasks"] - 1) * e["epochs_each"]
    rows = metrics[metrics.epoch >= start]
    tunes = rows.seed < e["first_seed"] + e["tuning_seeds"]
    keys = ["optimizer", "trial", "epoch"]
    score, higher = meta["score"]["name"], meta["score"]["higher"]
    tuning = measured(rows[tunes], "validation", e["tasks"], score)
    tested = measured(rows[~tunes], "test", e["tasks"], score)
    means = tuning.groupby(keys)[[*MEASURES]].mean()
    return Study(means, tested, start, higher)


def measured(rows: pd.DataFrame, split: str, tasks: int, score: str) -> pd.DataFrame:
    """Return the measures of the old tasks' mean and of the new task on a split.

    A loss that is not a number is infinite: no configuration with one is chosen.
    """
    found = rows[["optimizer", "trial", "epoch", "seed"]].copy()
    for name, measure in (("loss", "loss"), ("score", score)):
        old = [f"{split}_{measure}_{number}" for number in range(1, tasks)]
        bad = 0.0 if measure == "accuracy" else np.inf
        found[f"old_{name}"] = rows[old].fillna(bad).mean(axis=1)
        found[f"new_{name}"] = rows[f"{split}_{measure}_{tasks}"].fillna(bad)
    return found


def mean_score(values: pd.DataFrame, weight: float) -> pd.Series:
    """Return the mean of both scores, that of the new task with this weight."""
    mean: pd.Series = (1 - weight) * values.old_score + weight * values.new_score
    return mean


def best_mean(found: Study, optimizer: str, weight: float) -> Configuration:
    """Choose the configuration with the best mean score.

    Of equal ones it is that of the lowest trial, then epoch.
    """
    means = mean_score(found.tuning.loc[optimizer], weight).round(5)
    return Configuration(*(means.idxmax() if found.higher else means.idxmin()))


def target(found: Study, base: str, gain: float) -> float:
    """Return the loss on the new task at a part of the base's gain there."""
    losses = found.tuning.loc[base].new_loss
    before, least = losses.xs(found.start, level="epoch").mean(), losses.min()
    return float(least + (1 - gain) * (before - least))  # exact where gain is 1


def at_gain(
    found: Study, optimizer: str, base: str, gain: float
) -> Configuration | None:
    """Choose the lowest loss on the old tasks among those that gain so much.

    None if no configuration does.
    """
    means = found.tuning.loc[optimizer]
    reached = means[means.new_loss <= target(found, base, gain)]
    return None if reached.empty else Configuration(*reached.old_loss.idxmin())


def tested(found: Study, optimizer: str, chosen: Configuration) -> pd.DataFrame:
    """Return the measures of a configuration on the test split, by seed."""
    return rows_of(found.tested, optimizer, chosen).set_index("seed")


def tested_other(
    metrics: pd.DataFrame, optimizer: str, chosen: Configuration, measure: str
) -> np.ndarray:
    """Return a measure of no task's data on the test split, by seed."""
    rows = rows_of(metrics, optimizer, chosen)
    return np.asarray(rows[f"test_{measure}"].dropna())


def rows_of(rows: pd.DataFrame, optimizer: str, chosen: Configuration) -> pd.DataFrame:
    """Return the rows of a configuration, by seed."""
    own = (rows.trial == chosen.trial) & (rows.epoch == chosen.epoch)
    return rows[own & (rows.optimizer == optimizer)].sort_values("seed")


def tested_gain(
    found: Study, optimizer: str, chosen: Configuration, base: str
) -> np.ndarray:
    """Return the part of the base's gain on the new task that each test seed made."""
    losses = found.tuning.loc[base].new_loss
    best = tested(found, base, Configuration(*losses.idxmin()))
    before = tested(found, base, Configuration(losses.idxmin()[0], found.start))
    made = before.new_loss.mean() - tested(found, optimizer, chosen).new_loss
    return np.asarray(made / (before.new_loss.mean() - best.new_loss.mean()))


def reported(found: Study, optimizer: str, base: str) -> set[Configuration]:
    """Return the configurations of which reports show scores on the test split."""
    best = Configuration(*found.tuning.loc[optimizer].new_loss.idxmin())
    means = [best_mean(found, optimizer, weight) for weight in WEIGHTS]
    gains = [at_gain(found, optimizer, base, gain) for gain in (*GAINS, *LEVELS)]
    return {best, best._replace(epoch=found.start), *means, *filter(None, gains)}


def in_reports(
    found: Study, meta: dict[str, Any], optimizer: str
) -> set[Configuration]:
    """Return the configurations that are shown in any group."""
    bases = [
        names[0] for _, names in meta["experiment"]["groups"] if optimizer in names
    ]
    return set().union(*(reported(found, optimizer, base) for base in bases))


def shown_trials(
    metrics: pd.DataFrame, meta: dict[str, Any], optimizer: str
) -> tuple[int, ...]:
    """Return the trials that a report shows, from the rows of the tuning seeds.

    A method's base has to be in the table.
    """
    shown = in_reports(study(metrics, meta), meta, optimizer)
    return tuple(sorted({int(each.trial) for each in shown}))


def pruned(metrics: pd.DataFrame, meta: dict[str, Any]) -> pd.DataFrame:
    """Drop the test seeds' rows that no report shows, but those of the last epoch.

    A method's base has to be in the table.
    """
    found, e = study(metrics, meta), meta["experiment"]
    there = {*found.tuning.index.get_level_values("optimizer")}
    shown = {(name, *each) for name in there for each in in_reports(found, meta, name)}
    keys = zip(metrics.optimizer, metrics.trial, metrics.epoch, strict=True)
    is_shown = np.asarray([key in shown for key in keys])
    tunes = metrics.seed < e["first_seed"] + e["tuning_seeds"]
    kept: pd.DataFrame = metrics[tunes | is_shown | (metrics.epoch == e["epochs"])]
    return kept


def describe(
    metrics: pd.DataFrame, optimizer: str, chosen: Configuration
) -> dict[str, str]:
    """Return the numbers of a configuration by name; those at an end say (edge)."""
    rows = metrics[metrics.optimizer == optimizer]
    own = rows[rows.trial == chosen.trial].iloc[0]
    written = {}
    for name in ("learning_rate", *run_files.own_numbers(metrics)):
        tried = rows[name].dropna().unique()
        if len(tried):
            is_edge = len(tried) > 1 and own[name] in (tried.min(), tried.max())
            written[name] = f"{own[name]:.3g}" + " (edge)" * is_edge
    return written | {"epoch": str(chosen.epoch)}
