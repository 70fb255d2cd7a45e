"""Data and network of the examples: scikit-learn's 8x8 digits, a small network."""

from typing import NamedTuple

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


def load(seed: int = 0) -> tuple[Images, Images]:
    """1,437 images to train on and 360 to test with, split by `seed`."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    pixels = jnp.asarray(data.data[order] / 16, jnp.float32)
    labels = jnp.asarray(data.target[order], jnp.int32)
    return Images(pixels[360:], labels[360:]), Images(pixels[:360], labels[:360])


class Network(nnx.Module):
    """Pixels -> hidden -> logits."""

    def __init__(self, hidden: int, rngs: nnx.Rngs, classes: int = 10):
        self.body = nnx.Linear(64, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Logits, shape (batch, classes)."""
        return self.head(nnx.relu(self.body(pixels)))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over the batch."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Fraction of correct labels."""
    return jnp.mean(logits.argmax(axis=-1) == labels)
