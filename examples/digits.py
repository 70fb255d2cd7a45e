"""Data and network of the examples: scikit-learn's 8x8 digits, a small network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits


class Images(NamedTuple):
    """Digits: float32 pixels in [0, 1], shape (n, 64), and int32 labels, shape (n,)."""

    pixels: jax.Array
    labels: jax.Array

    def take(self, rows) -> "Images":
        """Select the images of these rows."""
        return Images(self.pixels[rows], self.labels[rows])


def load(validation: int = 0, seed: int = 0) -> tuple[Images, Images, Images]:
    """1,437 less `validation` images to train on, these, and 360 to test with."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    pixels = jnp.asarray(data.data[order] / 16, jnp.float32)
    labels = jnp.asarray(data.target[order], jnp.int32)
    images, start = Images(pixels, labels), 360 + validation
    train, held_out, test = slice(start, None), slice(360, start), slice(360)
    return images.take(train), images.take(held_out), images.take(test)


class Network(nnx.Module):
    """Pixels -> hidden -> logits."""

    def __init__(self, hidden: int, rngs: nnx.Rngs, classes: int = 10):
        self.body = nnx.Linear(64, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Logits, shape (batch, classes)."""
        return self.head(nnx.relu(self.body(pixels)))


def graph(hidden: int, classes: int = 10) -> nnx.GraphDef[Network]:
    """Return the network without its parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: Network(hidden, nnx.Rngs(0), classes)))


def initial(keys: jax.Array, hidden: int, classes: int = 10) -> nnx.State[Any, Any]:
    """Parameters of a network, drawn from each of the keys (leading axis)."""

    def draw(key):
        return nnx.state(Network(hidden, nnx.Rngs(key), classes))

    return jax.jit(jax.vmap(draw))(keys)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the batch."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of the batch."""
    return jnp.mean(logits.argmax(axis=-1) == labels)


def loss(graph: nnx.GraphDef[Any], params: optax.Params, images: Images) -> jax.Array:
    """Mean cross-entropy."""
    return cross_entropy(nnx.merge(graph, params)(images.pixels), images.labels)


def surprise(
    graph: nnx.GraphDef[Any],
    params: optax.Params,
    example: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """Negative log-likelihood of a label that the network draws by a key."""
    pixels, key = example
    log_p = jax.nn.log_softmax(nnx.merge(graph, params)(pixels))
    return -log_p[jax.random.categorical(key, log_p)]


def accuracy(
    graph: nnx.GraphDef[Any], params: optax.Params, images: Images
) -> jax.Array:
    """Fraction of correct labels."""
    return correct(nnx.merge(graph, params)(images.pixels), images.labels)
