"""Dense networks: a small one, and layers that may be normalised."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

Layers = list[dict[str, jax.Array]]
"""Weights and biases of each layer, `kernel` and `bias`, the first layer first."""


class DenseNet(nnx.Module):
    """A hidden layer of rectified units and a linear layer, on vectors."""

    def __init__(self, inputs: int, hidden: int, classes: int, *, rngs: nnx.Rngs):
        self.body = nnx.Linear(inputs, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return logits, shape (batch, classes)."""
        return self.head(nnx.relu(self.body(inputs)))


def draw_layers(key: jax.Array, widths: Sequence[int]) -> Layers:
    """Draw weights and biases of dense layers, from the inputs' number to the classes'.

    All are uniform between -1 and 1 over the root of the layer's inputs, as in PyTorch.
    """

    def layer(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
        end = inputs**-0.5
        both = jax.random.uniform(key, (inputs + 1, outputs), minval=-end, maxval=end)
        return {"kernel": both[:-1], "bias": both[-1]}

    keys = jax.random.split(key, len(widths) - 1)
    return [layer(*each) for each in zip(keys, widths[:-1], widths[1:], strict=True)]


def with_layer_norm(layers: Layers) -> Layers:
    """Give each hidden layer a scale and a shift, those of a LayerNorm.

    Ba et al., "Layer Normalization", https://arxiv.org/abs/1607.06450
    """
    *hidden, head = layers

    def normalised(layer: dict[str, jax.Array]) -> dict[str, jax.Array]:
        bias = layer["bias"]
        return {**layer, "scale": jnp.ones_like(bias), "shift": jnp.zeros_like(bias)}

    return [*map(normalised, hidden), head]


def apply_layers(layers: Layers, inputs: jax.Array) -> jax.Array:
    """Return the logits of dense layers with rectified units, shape (batch, classes).

    A hidden layer with a scale is normalised before it is rectified.
    """
    *hidden, head = layers
    for layer in hidden:
        outputs = affine(layer, inputs)
        if "scale" in layer:
            outputs = normalise(layer, outputs)
        inputs = nnx.relu(outputs)
    return affine(head, inputs)


def affine(layer: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """Return what a layer makes of inputs, shape (batch, outputs)."""
    return inputs @ layer["kernel"] + layer["bias"][jnp.newaxis]


def normalise(layer: dict[str, jax.Array], outputs: jax.Array) -> jax.Array:
    """Apply a layer's LayerNorm to its outputs."""
    centred = outputs - outputs.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(variance + 1e-5)
    return unit * layer["scale"][jnp.newaxis] + layer["shift"][jnp.newaxis]
