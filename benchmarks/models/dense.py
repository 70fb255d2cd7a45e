"""A small dense network."""

import jax
from flax import nnx


class DenseNet(nnx.Module):
    """A hidden layer of rectified units and a linear layer, on vectors."""

    def __init__(self, inputs: int, hidden: int, classes: int, *, rngs: nnx.Rngs):
        self.body = nnx.Linear(inputs, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return logits, shape (batch, classes)."""
        return self.head(nnx.relu(self.body(inputs)))
