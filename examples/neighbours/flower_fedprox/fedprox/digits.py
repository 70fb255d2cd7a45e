"""The network, and scikit-learn's digits: some for each client, the rest for a test."""

import jax
import numpy as np
import optax
from flax import nnx
from flwr.app import ArrayRecord
from sklearn.datasets import load_digits


class Network(nnx.Module):
    """Pixels -> 64 -> logits."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.body = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, pixels):
        """Logits, shape (batch, 10)."""
        return self.head(nnx.relu(self.body(pixels)))


def loss(network, pixels, labels):
    """Return the mean cross-entropy."""
    logits = network(pixels)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def images():
    """Return pixels and labels, in an order that mixes the digits."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.data[order] / 16).astype("float32"), data.target[order].astype("int32")


def test_images():
    """Return the 360 images that no client has."""
    pixels, labels = images()
    return pixels[:360], labels[:360]


def images_of(client, clients):
    """Return a client's images, sorted by digit: with two, 0 to 4 or 4 to 9."""
    pixels, labels = (x[360:] for x in images())
    own = np.array_split(np.argsort(labels, kind="stable"), clients)[client]
    return pixels[own], labels[own]


def to_record(network):
    """Return the parameters as what Flower sends."""
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    return ArrayRecord([np.asarray(x) for x in leaves])


def load(network, record):
    """Set the network's parameters to those that Flower sent."""
    structure = jax.tree.structure(nnx.state(network, nnx.Param))
    nnx.update(network, jax.tree.unflatten(structure, record.to_numpy_ndarrays()))
