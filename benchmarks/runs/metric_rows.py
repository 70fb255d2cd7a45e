"""The rows of metrics.csv: what a program's lanes reached after an epoch."""

from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np
import pandas as pd

from benchmarks.experiments import Experiment
from benchmarks.records import run_files
from benchmarks.report import statistics
from benchmarks.runs import grid
from benchmarks.runs.grid import Program
from benchmarks.training import loop


class Evaluate(Protocol):
    """Measures an optimizer's networks on a split: arrays of (seeds, trials) by name.

    With a trial, of that one alone: arrays of (seeds, 1).
    """

    def __call__(
        self, name: str, split: str, trial: int | None = None
    ) -> Mapping[str, jax.Array | np.ndarray]: ...


def training(
    experiment: Experiment,
    program: Program,
    lanes: Mapping[str, loop.Lane],
    epoch: int,
) -> pd.DataFrame:
    """Make a row for each run after an epoch, with empty scores."""

    def runs(name: str) -> pd.DataFrame:
        lane, numbers = lanes[name], grid.numbers(experiment, name)
        seeds, trials = np.meshgrid(program.seeds, program.trials, indexing="ij")

        columns = {
            "optimizer": np.asarray(grid.labels(experiment, name))[trials],
            "trial": trials,
            **{key: np.asarray(values)[trials] for key, values in numbers.items()},
            "seed": seeds,
            **{f"train_{key}": rounded(x) for key, x in lane.measures.items()},
            "diverged": np.asarray(lane.diverged),
        }
        flat = {column: values.ravel() for column, values in columns.items()}
        return pd.DataFrame(flat)

    rows = pd.concat(map(runs, program.optimizers), ignore_index=True)
    rows = rows.assign(
        batch_size=program.batch_size, noise=str(program.noise), epoch=epoch
    )
    return rows.reindex(columns=columns(experiment))


def evaluation(
    experiment: Experiment,
    program: Program,
    rows: pd.DataFrame,
    evaluate: Evaluate,
) -> pd.DataFrame:
    """Add the scores on the validation split, and on the test split if it is due.

    The test split is used where one trial is made and nothing is chosen. Otherwise it
    is used at the end, by the trials that the validation split chose. With tuning
    seeds, these alone are validated, and the others alone are tested.
    """
    split = "test" if program.tests else "validation"
    scores = [evaluate(name, split) for name in program.optimizers]
    for key in experiment.problem.score.labels:
        values = np.concatenate([rounded(score[key]).ravel() for score in scores])
        rows[f"{split}_{key}"] = values
        rows["diverged"] |= ~np.isfinite(values)
    if experiment.tuning_seeds:
        return rows
    one_trial = len(experiment.learning_rates) == 1 and not experiment.strengths
    if one_trial or rows.epoch.iloc[0] == experiment.epochs:
        return add_test_scores(experiment, program, rows, evaluate)
    return rows


def add_test_scores(
    experiment: Experiment,
    program: Program,
    rows: pd.DataFrame,
    evaluate: Evaluate,
) -> pd.DataFrame:
    """Add the test scores of the chosen trial of each name that is compared."""
    score = experiment.problem.score
    for name in program.optimizers:
        for label in grid.compared(experiment, name):
            runs = rows[rows.optimizer == label]
            trial = statistics.best_trial(runs, score)
            scores = evaluate(name, "test", trial)
            where = runs.index[runs.trial == trial]
            for key in score.labels:
                rows.loc[where, f"test_{key}"] = rounded(scores[key]).ravel()
    return rows


def rounded(values: jax.Array | np.ndarray) -> np.ndarray:
    """Round to 6 decimals: trials are chosen by the numbers that the file holds."""
    return np.asarray(values, np.float64).round(6)


def columns(experiment: Experiment) -> tuple[str, ...]:
    """Name the columns of an experiment's metrics.csv."""
    problem = experiment.problem
    tried = [grid.numbers(experiment, name) for name in experiment.optimizers]
    which = run_files.run_columns(key for numbers in tried for key in numbers)
    evaluated = tuple(problem.score.labels)
    splits = {"train": problem.measures, "validation": evaluated, "test": evaluated}
    measures = (f"{split}_{name}" for split, names in splits.items() for name in names)
    return (*which, *measures, "diverged")
