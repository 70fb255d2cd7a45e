"""Rows of metrics.csv: the test images are used once, by what validation chose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import experiments
from benchmarks.data.image_set import ImageSet
from benchmarks.experiments import Experiment, classify
from benchmarks.runs import grid, metric_rows
from benchmarks.training.loop import Lane

# Accuracy by trial: validation prefers the second, the test split the first.
ACCURACY = {"validation": jnp.array([0.6, 0.8]), "test": jnp.array([0.9, 0.7])}


class Evaluate:
    """Accuracies by split; lanes are known by a parameter that is their number."""

    def __init__(self):
        self.asked = []

    def __call__(self, name, lane, split):
        self.asked.append((name, split, lane.params.shape))
        accuracy = ACCURACY[split][lane.params]
        return {"accuracy": accuracy, "loss": 1 - accuracy}


def evaluated(experiment: Experiment, epoch: int):
    (program,) = grid.programs(experiment)
    count = len(grid.labels(experiment, "sgd"))
    shape = (experiment.seeds, count)
    measures = {"loss": jnp.ones(shape), "accuracy": jnp.zeros(shape)}
    numbers = jnp.broadcast_to(jnp.arange(count), shape)
    lanes = {"sgd": Lane(numbers, (), (), measures, jnp.zeros(shape, bool))}
    data_set = ImageSet(
        "train", "validation", "test", 10, jnp.ones(1), jnp.ones(1), "x"
    )
    evaluate = Evaluate()
    rows = metric_rows.training(experiment, program, lanes, epoch)
    return metric_rows.evaluation(
        experiment, program, rows, evaluate, lanes, data_set
    ), evaluate


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
    asked = [("sgd", "validation", (2, 2)), ("sgd", "test", (2, 1))]
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

    def lane(number):
        params = jnp.full((2, 1), number)
        return Lane(params, (), (), measures, jnp.zeros((2, 1), bool))

    lanes = {"sgd": lane(0), "trsgd": lane(1)}
    data_set = ImageSet(
        "train", "validation", "test", 10, jnp.ones(1), jnp.ones(1), "x"
    )
    rows = metric_rows.training(both, program, lanes, 2)
    rows = metric_rows.evaluation(both, program, rows, Evaluate(), lanes, data_set)
    mean = rows.groupby("optimizer")[["validation_accuracy", "test_accuracy"]].mean()
    np.testing.assert_allclose(mean.loc["sgd"], [0.6, 0.9])
    np.testing.assert_allclose(mean.loc["trsgd"], [0.8, 0.7])


def test_a_loss_that_is_not_finite_counts_as_diverged(experiment, monkeypatch):
    loss = {"accuracy": jnp.ones((2, 2)), "loss": jnp.array([[1.0, jnp.inf]] * 2)}
    monkeypatch.setattr(
        Evaluate,
        "__call__",
        lambda self, name, lane, split: jax.tree.map(
            lambda x: x[:, : lane.params.shape[1]], loss
        ),
    )
    rows, _ = evaluated(experiment, experiment.epochs)
    assert rows.diverged.tolist() == [False, True, False, True]
