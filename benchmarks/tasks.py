"""What is trained: initial parameters, batches, loss and evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data import Split


class Task(NamedTuple):
    """Pure functions that the training loop calls; it knows nothing else of a task.

    Attributes:
      init: key -> parameters.
      batches: (key, epoch) -> a pytree of arrays with a leading axis of steps; the
        loop scans over it. The same key and epoch give the same batches.
      loss: (parameters, data, batch) -> scalar, to be differentiated.
      evaluate: (parameters, data) -> scalars by name.
    """

    init: Callable[[jax.Array], Any]
    batches: Callable[[jax.Array, jax.Array | int], Any]
    loss: Callable[[Any, Any, Any], jax.Array]
    evaluate: Callable[[Any, Any], dict[str, jax.Array]]


def classify(
    make_model: Callable[[nnx.Rngs], nnx.Module],
    normalise: Callable[[jax.Array], jax.Array],
    examples: int,
    batch_size: int,
) -> Task:
    """Image classification with cross-entropy.

    Args:
      make_model: builds a network that maps normalised images to logits.
      normalise: what the network sees of a batch of images as stored.
      examples: size of the train split.
      batch_size: images a step; an epoch leaves out the last incomplete batch.
    """
    graph, _ = nnx.split(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))
    steps = examples // batch_size

    def init(key: jax.Array) -> Any:
        return nnx.split(make_model(nnx.Rngs(key)))[1]

    def batches(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        order = jax.random.permutation(jax.random.fold_in(key, epoch), examples)
        return order[: steps * batch_size].reshape(steps, batch_size)

    def cross_entropy(params: Any, split: Split) -> tuple[jax.Array, jax.Array]:
        logits = nnx.merge(graph, params)(normalise(split.images))
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, split.labels
        )
        return losses.mean(), logits

    def loss(params: Any, split: Split, index: jax.Array) -> jax.Array:
        batch = Split(split.images[index], split.labels[index])
        return cross_entropy(params, batch)[0]

    def evaluate(params: Any, split: Split) -> dict[str, jax.Array]:
        mean, logits = cross_entropy(params, split)
        return {"accuracy": accuracy(logits, split.labels), "loss": mean}

    return Task(init, batches, loss, evaluate)


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of correct labels; a row with a non-finite logit counts as wrong."""
    finite = jnp.isfinite(logits).all(axis=-1)
    return jnp.mean((logits.argmax(axis=-1) == labels) & finite)
