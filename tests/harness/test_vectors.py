"""A task whose networks are vectors is the same task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data_files import random_images

from benchmarks.data import cifar10
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments import classify
from benchmarks.tasks.classify import NETWORK, Images
from benchmarks.training import vectors


def classification(network, channels):
    """Return a task on 16 random images with the numbers of an experiment."""
    rng = np.random.default_rng(0)
    raw = random_images(rng, cifar10.SPEC, 20)
    split = Split(jnp.asarray(raw.images[:16]), jnp.asarray(raw.labels[:16]))
    data = ImageSet(split, split, split, 10, jnp.full(3, 120.0), jnp.full(3, 60.0), "")
    problem = Images(
        **classify.CIFAR10.__dict__
        | {"network": network, "channels": channels, "dtype": "float32"}
    )
    return problem.task(data, 8), data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "channels"), [("small", (4, 8)), ("resnet18", (4,))]
)
def test_vectors_hold_the_same_network_loss_and_gradient(network, channels):
    """The oracle is the task of arrays; the arithmetic is the same, so are the bits.

    Two compiled programs may round a gradient otherwise: 1e-5 of its largest entry.
    """
    task, data = classification(network, channels)
    flat, back = vectors.as_vectors(task)
    params, stats = task.init(jax.random.key(0))
    vector, carried = flat.init(jax.random.key(0))
    assert vector[NETWORK].ndim == 1
    for a, b in zip(
        jax.tree.leaves(back(vector, carried)),
        jax.tree.leaves((params, stats)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)

    def graded(which, params, stats):
        loss = jax.jit(jax.value_and_grad(which.players[NETWORK], has_aux=True))
        return loss(params, stats, data.train, jnp.arange(8), jax.random.key(1))

    (value, (new, _)), grads = graded(task, params, stats)
    (same, (carried, _)), slopes = graded(flat, vector, carried)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    expected = np.asarray(vectors.to_vector(grads))
    np.testing.assert_allclose(
        slopes[NETWORK], expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
    np.testing.assert_allclose(
        vectors.to_vector(back(vector, carried)[1]) if jax.tree.leaves(new) else 0.0,
        vectors.to_vector(new) if jax.tree.leaves(new) else 0.0,
        rtol=1e-5,
        atol=1e-6,
    )


def test_stacked_vectors_come_back_as_stacked_arrays():
    task, _ = classification("small", (4, 8))
    flat, back = vectors.as_vectors(task)
    keys = jax.random.split(jax.random.key(0), 6).reshape(2, 3)
    params, stats = back(*jax.vmap(jax.vmap(flat.init))(keys))
    expected, _ = jax.vmap(jax.vmap(task.init))(keys)
    assert jax.tree.leaves(stats) == []
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
