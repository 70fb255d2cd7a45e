"""What is trained: initial values, batches, loss and evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data import Split

EVALUATED_TOGETHER = 500


class Task(NamedTuple):
    """Pure functions that the training loop calls; it knows nothing else of a task.

    Statistics are what a network carries along without training it, such as the running
    averages of BatchNorm; an empty pytree where there are none.

    Attributes:
      init: key -> (parameters, statistics).
      batches: (key, epoch) -> a pytree of arrays with a leading axis of steps; the
        loop scans over it. The same key and epoch give the same batches.
      loss: (parameters, statistics, data, batch, key) -> (scalar, (new statistics,
        other scalars by name)), to be differentiated by the parameters; the key is for
        augmentation.
      evaluate: (parameters, statistics, data) -> scalars by name.
      measures: the names of the loss's other scalars.
    """

    init: Callable[[jax.Array], tuple[Any, Any]]
    batches: Callable[[jax.Array, jax.Array | int], Any]
    loss: Callable[
        [Any, Any, Any, Any, jax.Array],
        tuple[jax.Array, tuple[Any, dict[str, jax.Array]]],
    ]
    evaluate: Callable[[Any, Any, Any], dict[str, jax.Array]]
    measures: tuple[str, ...] = ()


def classify(
    make_model: Callable[[nnx.Rngs], nnx.Module],
    normalise: Callable[[jax.Array], jax.Array],
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    examples: int,
    batch_size: int,
) -> Task:
    """Image classification with cross-entropy.

    Args:
      make_model: builds a network that maps normalised images to logits.
      normalise: what the network sees of stored images in evaluation.
      augment: what it sees of a batch in training, from the images and a key.
      examples: size of the train split.
      batch_size: images a step; an epoch leaves out the last incomplete batch.
    """
    graph, _, _ = split_model(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))
    steps = examples // batch_size

    def init(key: jax.Array) -> tuple[Any, Any]:
        _, params, stats = split_model(make_model(nnx.Rngs(key)))
        return params, stats

    def batches(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        order = jax.random.permutation(jax.random.fold_in(key, epoch), examples)
        return order[: steps * batch_size].reshape(steps, batch_size)

    def loss(
        params: Any, stats: Any, split: Split, index: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        model = nnx.merge(graph, params, stats, copy=True)
        logits = model(augment(split.images[index], key))
        labels = split.labels[index]
        measures = {"accuracy": accuracy(logits, labels)}
        return cross_entropy(logits, labels), (split_model(model)[2], measures)

    def evaluate(params: Any, stats: Any, split: Split) -> dict[str, jax.Array]:
        def one(image: jax.Array) -> jax.Array:
            model = nnx.merge(graph, params, stats, copy=True)
            model.eval()
            return model(normalise(image[jnp.newaxis]))[0]

        logits = jax.lax.map(one, split.images, batch_size=EVALUATED_TOGETHER)
        return {
            "accuracy": accuracy(logits, split.labels),
            "loss": cross_entropy(logits, split.labels),
        }

    return Task(init, batches, loss, evaluate, ("accuracy",))


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef[Any], Any, Any]:
    """The structure, what is trained and what is not."""
    graph, params, *stats = nnx.split(model, nnx.Param, ...)
    return graph, params, stats[0]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the rows."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of correct labels; a row with a non-finite logit counts as wrong."""
    finite = jnp.isfinite(logits).all(axis=-1)
    return jnp.mean((logits.argmax(axis=-1) == labels) & finite)
