"""Tasks in series: what happens once between two of them, and beside an update."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.optimizers.method import Method, OptState, Params
from benchmarks.training.keys import between_key
from benchmarks.training.task import Series


class Calendar(NamedTuple):
    """Which task an epoch is of.

    Attributes:
      tasks: their number.
      epochs_each: epochs of each; further epochs are of the last one.
    """

    tasks: int
    epochs_each: int

    def number_at(self, epoch: jax.Array | int) -> jax.Array:
        """Return the number of an epoch's task, counted from 0."""
        return jnp.minimum(epoch // self.epochs_each, self.tasks - 1)

    def begins(self, epoch: jax.Array | int) -> jax.Array:
        """Say whether another task than before begins with an epoch."""
        return (self.number_at(epoch) > self.number_at(epoch - 1)) & (epoch > 0)


def hand_over(
    series: Series,
    method: Method,
    numbers: Any,
    data: Any,
    seeds: jax.Array,
    epoch: jax.Array | int,
    params: dict[str, Params],
    stats: Any,
    states: dict[str, OptState],
) -> dict[str, OptState]:
    """Let a method keep what it wants of a task that ended before an epoch.

    Seeds run together and trials one by one, to bound the memory.

    Args:
      series: makes the lesson of the finished task.
      method: the optimizer of the lanes.
      numbers: of its l trials.
      data: the train split.
      seeds: integers, shape (s,).
      epoch: the first one of the next task.
      params: by player, stacked on (s, l) like all that follow.
      stats: statistics.
      states: by player, those of the optimizer.

    Returns:
      The new states.
    """

    def of_seed(seed: jax.Array, *lanes: Any) -> dict[str, OptState]:
        def of_lane(lane: Any) -> dict[str, OptState]:
            numbers, params, stats, states = lane
            lesson = series.finished(stats, data, epoch, between_key(seed, epoch))
            keep = partial(method.between, numbers, lesson)
            return {name: keep(states[name], own) for name, own in params.items()}

        kept: dict[str, OptState] = jax.lax.map(of_lane, (numbers, *lanes))
        return kept

    return jax.vmap(of_seed)(seeds, params, stats, states)
