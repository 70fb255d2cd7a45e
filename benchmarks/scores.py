"""Rows of metrics.csv: what a program's lanes reached after an epoch."""

from collections.abc import Mapping

import jax
import numpy as np
import pandas as pd

from benchmarks import analysis, assemble, train
from benchmarks.assemble import Program
from benchmarks.data import DataSet, Split
from benchmarks.experiments import Experiment
from benchmarks.program import Scores


def training(
    experiment: Experiment,
    program: Program,
    lanes: Mapping[str, train.Lane],
    epoch: int,
) -> pd.DataFrame:
    """A row a run after so many epochs; what needs an evaluation is left empty."""

    def runs(name: str) -> pd.DataFrame:
        lane, numbers = lanes[name], assemble.trials(experiment, name)
        shape = (experiment.seeds, len(numbers["learning_rate"]))
        seeds, trials = np.indices(shape)

        def number(key: str) -> np.ndarray:
            return np.asarray(numbers.get(key, (np.nan,) * shape[1]))[trials]

        columns = {
            "optimizer": np.asarray(assemble.labels(experiment, name))[trials],
            "trial": trials,
            "learning_rate": number("learning_rate"),
            "threshold": number("threshold"),
            "strength": number("strength"),
            "seed": seeds,
            "train_loss": rounded(lane.measures["loss"]),
            "train_accuracy": rounded(lane.measures["accuracy"]),
            "diverged": np.asarray(lane.diverged),
        }
        flat = {column: values.ravel() for column, values in columns.items()}
        return pd.DataFrame(flat)

    rows = pd.concat(map(runs, program.optimizers), ignore_index=True)
    rows.insert(0, "batch_size", program.batch_size)
    rows.insert(1, "noise", str(program.noise))
    rows.insert(7, "epoch", epoch)
    empty = ["validation_loss", "validation_accuracy", "test_loss", "test_accuracy"]
    return rows.assign(**dict.fromkeys(empty, np.nan))


def evaluation(
    experiment: Experiment,
    program: Program,
    rows: pd.DataFrame,
    evaluate: Scores,
    lanes: Mapping[str, train.Lane],
    data_set: DataSet,
) -> pd.DataFrame:
    """The rows with the scores on the validation split, and on the test split if due.

    The test split is used where there is nothing to choose, as only one trial is made,
    or at the end, by the trials chosen on the validation split.
    """
    scores = [
        evaluate(name, lanes[name], data_set.validation) for name in program.optimizers
    ]
    for key in ("loss", "accuracy"):
        values = [rounded(score[key]).ravel() for score in scores]
        rows[f"validation_{key}"] = np.concatenate(values)
    rows["diverged"] |= ~np.isfinite(rows.validation_loss)
    one_trial = len(experiment.learning_rates) == 1 and not experiment.strengths
    if one_trial or rows.epoch.iloc[0] == experiment.epochs:
        return test(experiment, rows, evaluate, lanes, data_set.test)
    return rows


def test(
    experiment: Experiment,
    rows: pd.DataFrame,
    evaluate: Scores,
    lanes: Mapping[str, train.Lane],
    split: Split,
) -> pd.DataFrame:
    """The rows with the test scores of the chosen trial of each name."""
    for name, lane in lanes.items():
        for label in dict.fromkeys(assemble.labels(experiment, name)):
            runs = rows[rows.optimizer == label]
            trial = analysis.best_trial(runs)
            chosen = slice(trial, trial + 1)
            picked = jax.tree.map(lambda x, c=chosen: x[:, c], lane)
            scores = evaluate(name, picked, split)
            where = runs.index[runs.trial == trial]
            for key in ("loss", "accuracy"):
                rows.loc[where, f"test_{key}"] = rounded(scores[key]).ravel()
    return rows


def rounded(values: jax.Array) -> np.ndarray:
    """Float64, 6 decimals: what the file holds is what the choice was made from."""
    return np.asarray(values, np.float64).round(6)
