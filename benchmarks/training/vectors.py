"""A network as one vector, for optimizers that treat every parameter alike.

A step of a lane then takes a few kernels, where it takes some for each array else.
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
    """The way back from what never became a vector."""
    return params, stats


def as_vectors(task: Task) -> tuple[Task, Back]:
    """The task with a vector for each player's parameters and one for the statistics.

    Returns:
      The task, and the way back from vectors of parameters by player and of statistics,
      stacked on any leading axes, to the arrays.
    """
    like, like_stats = jax.eval_shape(task.init, jax.random.key(0))

    def back(params: dict[str, Any], stats: Any) -> tuple[dict[str, Any], Any]:
        arrays = {player: split(x, like[player]) for player, x in params.items()}
        return arrays, split(stats, like_stats)

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        params, stats = task.init(key)
        return {player: join(own) for player, own in params.items()}, join(stats)

    def of(loss: Loss) -> Loss:
        def of_vectors(params: dict[str, Any], stats: Any, *others: Any) -> Any:
            value, (stats, measures) = loss(*back(params, stats), *others)
            return value, (join(stats), measures)

        return of_vectors

    players = {player: of(loss) for player, loss in task.players.items()}
    return task._replace(init=init, players=players), back


def join(tree: Any) -> Any:
    """All entries one after the other, array by array; nothing stays as it is."""
    leaves = [x.ravel() for x in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves) if leaves else tree


def split(vector: Any, like: Any) -> Any:
    """The arrays again, in the structure and shapes of `like`."""
    leaves = jax.tree.leaves(like)
    if not leaves:
        return vector
    ends = itertools.accumulate(math.prod(x.shape) for x in leaves)
    parts = jnp.split(vector, [*ends][:-1], axis=-1)
    stacked = vector.shape[:-1]
    arrays = [x.reshape(stacked + y.shape) for x, y in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(like), arrays)
