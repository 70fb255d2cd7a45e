"""LoRA: a network whose matrices are changed by products of two narrow ones.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, arXiv
2106.09685. The gradient is that of the whole matrix, and those of the narrow ones
follow from it by the chain rule. In float32 the numbers are LoRA's. Where a network
rounds its weights to bfloat16, it rounds the sum of a matrix and the product, and small
products are lost in it; LoRA itself rounds both apart. Time and memory are not LoRA's,
which needs no gradient and no moments of a whole matrix.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.optimizers.bases import l2_adam
from benchmarks.optimizers.method import Method, Params, Setup

SCALE = 2.0  # of the product: alpha = 2 rank, as in "LoRA Learns Less and Forgets Less"
STACKED = 3  # axes of the matrices of all blocks; embeddings and norms have fewer


class Adapted(NamedTuple):
    """A network and what is learned beside it.

    Attributes:
      network: its parameters, which stay as they are.
      low: for each leaf, in order, (down, up) of shapes (layers, in, rank) and (layers,
        rank, out); () for one that is no stack of matrices.
    """

    network: Params
    low: Any


def adapted(rank: int, params: Params) -> Adapted:
    """Return a network with products of 0 beside it.

    `down` is drawn with the deviation of the kernels' usual initial values, the same in
    all runs.
    """

    def pair(key: jax.Array, leaf: jax.Array) -> Any:
        if leaf.ndim != STACKED:
            return ()
        layers, inputs, outputs = leaf.shape
        down = jax.random.normal(key, (layers, inputs, rank)) / inputs**0.5
        return down, jnp.zeros((layers, rank, outputs))

    leaves = jax.tree.leaves(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    return Adapted(params, [pair(*both) for both in zip(keys, leaves, strict=True)])


def whole(own: Adapted) -> Params:
    """Return W + scale * down @ up of every matrix W."""
    leaves, structure = jax.tree.flatten(own.network)
    new = [
        leaf + SCALE * pair[0] @ pair[1] if pair else leaf
        for leaf, pair in zip(leaves, own.low, strict=True)
    ]
    return jax.tree.unflatten(structure, new)


def low_gradients(grads: Params, low: Any) -> list[Any]:
    """Return the gradients by the narrow matrices from those by the whole ones."""

    def of_pair(grad: jax.Array, pair: Any) -> Any:
        if not pair:
            return ()
        down, up = (x.swapaxes(-1, -2) for x in pair)
        return SCALE * grad @ up, SCALE * down @ grad

    leaves = jax.tree.leaves(grads)
    return [of_pair(*both) for both in zip(leaves, low, strict=True)]


def make(setup: Setup) -> optax.GradientTransformation:
    """Return the optimizer of an adapted network, from the whole one's gradient.

    Its state is that of Adam on the narrow matrices.
    """
    adam = l2_adam(setup, setup.numbers["learning_rate"])

    def init(params: Any) -> Any:
        return adam.init(params.low)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        low = low_gradients(updates, params.low)
        moves, state = adam.update(low, state, params.low)
        return Adapted(optax.tree.zeros_like(params.network), moves), state

    return optax.GradientTransformation(init, update)


def lora(rank: int) -> Method:
    """Return LoRA of a rank."""
    return Method(
        make,
        start=partial(adapted, rank),
        gradient_at=whole,
        evaluated=lambda params, state: whole(params),
    )


OPTIMIZERS = {f"lora of rank {rank}": lora(rank) for rank in (8, 32)}
