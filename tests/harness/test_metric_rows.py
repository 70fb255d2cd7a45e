"""Rows of metrics.csv: the test images are used once, by what validation chose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import experiments
from benchmarks.experiments import Experiment, classify
from benchmarks.runs import grid, metric_rows
from benchmarks.training.loop import Lane

# Accuracy by trial: validation prefers the second, the test split the first.
ACCURACY = {"validation": jnp.array([0.6, 0.8]), "test": jnp.array([0.9, 0.7])}


class Evaluate:
    """Accuracies by split, of the lanes of an optimizer that have these numbers."""

    def __init__(self, **numbers):
        self.numbers, self.asked = numbers, []

    def __call__(self, name, split, trial=None):
        self.asked.append((name, split, trial))
        own = slice(None) if trial is None else slice(trial, trial + 1)
        accuracy = ACCURACY[split][self.numbers[name][:, own]]
        return {"accuracy": accuracy, "loss": 1 - accuracy}


def evaluated(experiment: Experiment, epoch: int):
    (program,) = grid.programs(experiment)
    count = len(grid.labels(experiment, "sgd"))
    shape = (experiment.seeds, count)
    measures = {"loss": jnp.ones(shape), "accuracy": jnp.zeros(shape)}
    numbers = jnp.broadcast_to(jnp.arange(count), shape)
    lanes = {"sgd": Lane({}, (), {}, measures, jnp.zeros(shape, bool))}
    evaluate = Evaluate(sgd=numbers)
    rows = metric_rows.training(experiment, program, lanes, epoch)
    return metric_rows.evaluation(experiment, program, rows, evaluate), evaluate


@pytest.fixture
def experiment():
    return replace(
        experiments.tiny(classify.DEMO), groups=(("", ("sgd",)),), evaluate_every=1
    )


def test_validation_chooses_and_the_chosen_is_tested_at_the_end(experiment):
    rows, evaluate = evaluated(experiment, experiment.epochs)
    np.testing.assert_allclose(rows.validation_accuracy, [0.6, 0.8, 0.6, 0.8])
    np.testing.assert_allclose(rows.test_accuracy, [np.nan, 0.7, np.nan, 0.7])
    np.testing.assert_allclose(rows.test_loss, [np.nan, 0.3, np.nan, 0.3])
    asked = [("sgd", "validation", None), ("sgd", "test", 1)]
    assert evaluate.asked == asked


def test_before_the_end_nothing_is_tested(experiment):
    rows, evaluate = evaluated(experiment, epoch=1)
    assert rows.test_accuracy.isna().all()
    assert [split for _, split, _ in evaluate.asked] == ["validation"]


def test_a_single_rate_is_tested_at_every_evaluation(experiment):
    one = replace(experiment, learning_rates=(0.1,))
    rows, _ = evaluated(one, epoch=1)
    np.testing.assert_allclose(rows.test_accuracy, [0.9, 0.9])


def test_each_optimizer_gets_its_own_scores(experiment):
    """Compiled functions return dictionaries in the order of the alphabet."""
    groups = (("", ("trsgd", "sgd")),)
    both = replace(experiment, groups=groups, learning_rates=(0.1,), together=True)
    (program,) = grid.programs(both)
    measures = {"loss": jnp.ones((2, 1)), "accuracy": jnp.ones((2, 1))}
    lane = Lane({}, (), {}, measures, jnp.zeros((2, 1), bool))
    evaluate = Evaluate(sgd=jnp.full((2, 1), 0), trsgd=jnp.full((2, 1), 1))
    rows = metric_rows.training(both, program, {"sgd": lane, "trsgd": lane}, 2)
    rows = metric_rows.evaluation(both, program, rows, evaluate)
    mean = rows.groupby("optimizer")[["validation_accuracy", "test_accuracy"]].mean()
    np.testing.assert_allclose(mean.loc["sgd"], [0.6, 0.9])
    np.testing.assert_allclose(mean.loc["trsgd"], [0.8, 0.7])


def test_a_loss_that_is_not_finite_counts_as_diverged(experiment, monkeypatch):
    loss = {"accuracy": jnp.ones((2, 2)), "loss": jnp.array([[1.0, jnp.inf]] * 2)}
    monkeypatch.setattr(
        Evaluate,
        "__call__",
        lambda self, name, split, trial=None: jax.tree.map(
            lambda x: x if trial is None else x[:, trial : trial + 1], loss
        ),
    )
    rows, _ = evaluated(experiment, experiment.epochs)
    assert rows.diverged.tolist() == [False, True, False, True]
