"""A decoder-only transformer on bytes: rotary positions, RMS norm, tied embeddings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

BYTES = 256
ROTARY_BASE = 10_000.0
EMBEDDING_DEVIATION = 0.02


class Shape(NamedTuple):
    """The shape of a transformer; the hidden layer of its MLP is 4 times as wide.

    Attributes:
      width: features of a position.
      layers: number of blocks.
      heads: of the attention; they divide the width into even parts.
    """

    width: int
    layers: int
    heads: int


SHAPES = {
    "tiny": Shape(16, 1, 2),
    "0.07M": Shape(48, 2, 4),
    "0.8M": Shape(128, 4, 4),
    "11M": Shape(384, 6, 6),
    "85M": Shape(768, 12, 12),
    "124M": Shape(832, 15, 13),
}
"""Shapes by their number of parameters; 85M is the body of GPT-2 small."""


def rotary(x: jax.Array, base: float = ROTARY_BASE) -> jax.Array:
    """Turn pairs of features by angles proportional to the position.

    A product of two turned vectors depends on the positions by their distance alone.

    Args:
      x: shape (..., positions, heads, features); feature i is paired with i + half.
      base: the angles of pair i are the position times base ** (-i / half).
    """
    positions, half = x.shape[-3], x.shape[-1] // 2
    frequencies = base ** (-jnp.arange(half) / half)
    angles = jnp.outer(jnp.arange(positions), frequencies)
    angles = jnp.expand_dims(angles, (*range(x.ndim - 3), -2))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [first * cos - second * sin, first * sin + second * cos]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Block(nnx.Module):
    """Attention to the past and an MLP, each on the normed input and added to it."""

    def __init__(self, shape: Shape, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width = shape.width
        self.heads = shape.heads

        def linear(features: int, out: int, scale: float = 1.0) -> nnx.Linear:
            init = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
            return nnx.Linear(
                features, out, use_bias=False, kernel_init=init, dtype=dtype, rngs=rngs
            )

        # What is added to the stream 2 * layers times starts smaller by their root.
        added = 1 / (2 * shape.layers)
        self.norm1 = nnx.RMSNorm(width, dtype=dtype, rngs=rngs)
        self.queries_keys_values = linear(width, 3 * width)
        self.attended = linear(width, width, added)
        self.norm2 = nnx.RMSNorm(width, dtype=dtype, rngs=rngs)
        self.hidden = linear(width, 4 * width)
        self.out = linear(4 * width, width, added)

    def __call__(self, x: jax.Array) -> jax.Array:
        turned = self.queries_keys_values(self.norm1(x))
        parts = turned.reshape(*x.shape[:-1], 3, self.heads, -1)
        q, k, v = (parts[..., i, :, :] for i in range(3))
        mixed = jax.nn.dot_product_attention(rotary(q), rotary(k), v, is_causal=True)
        x = x + self.attended(mixed.reshape(x.shape))
        return x + self.out(jax.nn.gelu(self.hidden(self.norm2(x))))


class Transformer(nnx.Module):
    """A network from bytes (batch, positions) to logits (batch, positions, 256).

    The logits at a position are those of the next byte.
    """

    def __init__(self, shape: Shape, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.scale = shape.width**0.5
        self.embedding = nnx.Embed(
            BYTES,
            shape.width,
            embedding_init=nnx.initializers.normal(EMBEDDING_DEVIATION),
            dtype=dtype,
            rngs=rngs,
        )
        self.blocks = nnx.List(
            Block(shape, dtype=dtype, rngs=rngs) for _ in range(shape.layers)
        )
        self.norm = nnx.RMSNorm(shape.width, dtype=dtype, rngs=rngs)

    def __call__(self, text: jax.Array) -> jax.Array:
        x = self.embedding(text) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.embedding.attend(self.norm(x)).astype(jnp.float32)
