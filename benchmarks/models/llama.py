"""A Llama network: grouped-query attention, gated MLP, RMS norm, tied embeddings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

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


class LlamaBlock(nnx.Module):
    """Attention to the past and a gated MLP, each on the normed input, added to it."""

    def __init__(self, shape: LlamaShape, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.shape = shape

        def linear(features: int, out: int) -> nnx.Linear:
            return nnx.Linear(features, out, use_bias=False, dtype=dtype, rngs=rngs)

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
    that of the activations.
    """

    def __init__(
        self, shape: LlamaShape, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        self.embedding = nnx.Embed(shape.tokens, shape.width, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            LlamaBlock(shape, dtype=dtype, rngs=rngs) for _ in range(shape.layers)
        )
        self.norm = nnx.RMSNorm(
            shape.width, epsilon=shape.epsilon, dtype=dtype, rngs=rngs
        )

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.embedding.attend(self.norm(x)).astype(jnp.float32)
