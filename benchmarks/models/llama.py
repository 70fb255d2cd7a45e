"""A Llama network: grouped-query attention, gated MLP, RMS norm, tied embeddings."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from benchmarks.models.product import as_factors_are, product
from benchmarks.models.transformer import rotary


class LlamaShape(NamedTuple):
    """The shape of a Llama network.

    Attributes:
      tokens: number of the vocabulary.
      width: features of a position.
      layers: number of blocks.
      heads: of the queries.
      kv_heads: of keys and values; each serves heads / kv_heads queries.
      hidden: features of the MLP.
      rotary_base: of the positions' angles.
      epsilon: of the norms.
    """

    tokens: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def features(self) -> int:
        """Return the features of a head."""
        return self.width // self.heads


SHAPES = {
    "tiny": LlamaShape(256, 16, 2, 4, 2, 24),
    "135M": LlamaShape(49_152, 576, 30, 9, 3, 1536, 100_000.0),
}
"""Shapes by their number of parameters; 135M is that of SmolLM2-135M."""


class LlamaBlock(nnx.Module):
    """Attention to the past and a gated MLP, each on the normed input, added to it."""

    def __init__(self, shape: LlamaShape, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.shape = shape

        def linear(features: int, out: int) -> nnx.Linear:
            return nnx.Linear(
                *(features, out),
                use_bias=False,
                dtype=dtype,
                dot_general=as_factors_are,
                rngs=rngs,
            )

        def norm() -> nnx.RMSNorm:
            return nnx.RMSNorm(
                shape.width, epsilon=shape.epsilon, dtype=dtype, rngs=rngs
            )

        width, kv = shape.width, shape.kv_heads * shape.features
        self.norm1 = norm()
        self.queries = linear(width, width)
        self.keys = linear(width, kv)
        self.values = linear(width, kv)
        self.attended = linear(width, width)
        self.norm2 = norm()
        self.gate = linear(width, shape.hidden)
        self.up = linear(width, shape.hidden)
        self.down = linear(shape.hidden, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attend(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(nnx.silu(self.gate(y)) * self.up(y))

    def attend(self, x: jax.Array) -> jax.Array:
        """Return what each position takes from itself and those before it."""
        heads = *x.shape[:-1], -1, self.shape.features
        base = self.shape.rotary_base
        q = rotary(self.queries(x).reshape(heads), base)
        k = rotary(self.keys(x).reshape(heads), base)
        v = self.values(x).reshape(heads)
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return self.attended(mixed.reshape(x.shape))


class Llama(nnx.Module):
    """A network from token ids (batch, positions) to float32 logits of the next one.

    Logits have shape (batch, positions, tokens). Parameters are float32; `dtype` is
    that of the activations. Those of all blocks are stacked on a leading axis, so that
    one block is compiled; a gradient computes a block's activations again.
    """

    def __init__(
        self, shape: LlamaShape, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        @nnx.split_rngs(splits=shape.layers)
        @nnx.vmap
        def stacked(rngs: nnx.Rngs) -> LlamaBlock:
            return LlamaBlock(shape, dtype=dtype, rngs=rngs)

        self.embedding = nnx.Embed(shape.tokens, shape.width, dtype=dtype, rngs=rngs)
        self.blocks = stacked(rngs)
        self.norm = nnx.RMSNorm(
            shape.width, epsilon=shape.epsilon, dtype=dtype, rngs=rngs
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        graph, blocks = nnx.split(self.blocks)

        def layer(x: jax.Array, own: Any) -> tuple[jax.Array, None]:
            block: LlamaBlock = nnx.merge(graph, own)
            return block(x), None

        x, _ = jax.lax.scan(jax.checkpoint(layer), self.embedding(tokens), blocks)
        x = self.norm(x)
        return product(x, self.embedding.embedding[...].astype(x.dtype).T)
