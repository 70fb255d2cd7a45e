"""Networks as one vector each, for optimizers that treat every parameter alike.

A step of a lane then takes a few kernels in all, instead of some for each array.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.training.task import Loss, Task

Back = Callable[[dict[str, Any], Any], tuple[dict[str, Any], Any]]


def as_they_are(params: dict[str, Any], stats: Any) -> tuple[dict[str, Any], Any]:
    """Return both unchanged, where networks were not turned into vectors."""
    return params, stats


def as_vectors(task: Task) -> tuple[Task, Back]:
    """Let a vector hold each player's parameters, and another the statistics.

    Returns:
      The task on vectors, and the way back: a function from the vectors, stacked on any
      leading axes, to parameters by player and statistics in arrays.
    """
    like, like_stats = jax.eval_shape(task.init, jax.random.key(0))

    def back(params: dict[str, Any], stats: Any) -> tuple[dict[str, Any], Any]:
        arrays = {player: to_arrays(x, like[player]) for player, x in params.items()}
        return arrays, to_arrays(stats, like_stats)

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        params, stats = task.init(key)
        return {player: to_vector(own) for player, own in params.items()}, to_vector(
            stats
        )

    def on_vectors(loss: Loss) -> Loss:
        def loss_of_vectors(params: dict[str, Any], stats: Any, *others: Any) -> Any:
            value, (stats, measures) = loss(*back(params, stats), *others)
            return value, (to_vector(stats), measures)

        return loss_of_vectors

    players = {player: on_vectors(loss) for player, loss in task.players.items()}
    return task._replace(init=init, players=players), back


def to_vector(tree: Any) -> Any:
    """Make one vector of all arrays; a pytree without arrays stays as it is."""
    leaves = [x.ravel() for x in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves) if leaves else tree


def to_arrays(vector: Any, like: Any) -> Any:
    """Make arrays of a vector again, in the structure and shapes of `like`."""
    leaves = jax.tree.leaves(like)
    if not leaves:
        return vector
    ends = itertools.accumulate(math.prod(x.shape) for x in leaves)
    parts = jnp.split(vector, [*ends][:-1], axis=-1)
    stacked = vector.shape[:-1]
    arrays = [x.reshape(stacked + y.shape) for x, y in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(like), arrays)
