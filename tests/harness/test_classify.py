"""Classification: accuracy, and the published training on noise of CIFAR's shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import experiments
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments import classify
from benchmarks.tasks import classify as classifying


def test_non_finite_logits_count_as_wrong():
    logits = jnp.asarray([[2.0, 1], [jnp.nan, 1], [jnp.inf, 1], [0, 1]])
    assert classifying.accuracy(logits, jnp.asarray([0, 0, 0, 0])) == 0.25


@pytest.mark.slow
def test_the_published_experiment_augments_and_normalises_in_training_only():
    """A residual network on noise of CIFAR's shape: a step, without an archive."""
    experiment = experiments.tiny(classify.PAPER_CIFAR10)
    shape = (16, 32, 32, 3)
    pixels = jax.random.randint(jax.random.key(0), shape, 0, 256, jnp.uint8)
    split = Split(pixels, jnp.arange(16) % 10)
    ones = jnp.ones(3)
    noise = ImageSet(split, split, split, 10, 128 * ones, 64 * ones, "noise")
    task = experiment.problem.task(noise, batch_size=8)
    params, stats = task.init(jax.random.key(1))
    loss = jax.jit(task.players["network"])
    losses = [
        float(loss(params, stats, split, jnp.arange(8), jax.random.key(k))[0])
        for k in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert np.isfinite(losses).all()
