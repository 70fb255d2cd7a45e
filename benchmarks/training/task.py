"""What the training loop knows of a task: pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from benchmarks.optimizers.method import Lesson

Loss = Callable[
    [dict[str, Any], Any, Any, Any, jax.Array],
    tuple[jax.Array, tuple[Any, dict[str, jax.Array]]],
]


class Series(NamedTuple):
    """What the loop knows of a task that is several, one after the other.

    Attributes:
      begins: epoch -> whether another one than before begins with it.
      finished: (statistics, data, epoch, key) -> the one that ended before this epoch.
      batch: (statistics, data, batch, key) -> the examples of a batch.
    """

    begins: Callable[[jax.Array | int], jax.Array]
    finished: Callable[[Any, Any, jax.Array | int, jax.Array], Lesson]
    batch: Callable[[Any, Any, Any, jax.Array], Lesson]


class Task(NamedTuple):
    """Pure functions that the training loop calls; it knows nothing else of a task.

    A player is what an optimizer of its own updates by a loss of its own: the network,
    or the discriminator, then the generator. Statistics are what networks carry
    along without training it, such as the running averages of BatchNorm; an empty
    pytree where there are none.

    Attributes:
      init: key -> (parameters by player, statistics).
      batches: (key, epoch) -> a pytree of arrays with a leading axis of steps; the
        loop goes through it. The same key and epoch give the same batches.
      players: by name, in the order of their turns in a step, (parameters by player,
        statistics, data, batch, key) -> (scalar, (new statistics, measures by name)).
        The loop differentiates by the player's own parameters; of the others it gives
        those that they have by then. The key, for what is random in a step, is the same
        for all its players.
      evaluate: (parameters by player, statistics, data) -> measures by name.
      measures: the names of what the losses measure, all players together.
      series: what methods may see of several tasks; None where there is one.
    """

    init: Callable[[jax.Array], tuple[dict[str, Any], Any]]
    batches: Callable[[jax.Array, jax.Array | int], Any]
    players: Mapping[str, Loss]
    evaluate: Callable[[dict[str, Any], Any, Any], dict[str, jax.Array]]
    measures: tuple[str, ...] = ()
    series: Series | None = None


def shuffled(
    examples: int, batch_size: int
) -> Callable[[jax.Array, jax.Array | int], jax.Array]:
    """Return a task's `batches`: indices of examples, in a new order each epoch.

    An epoch leaves out the last incomplete batch.
    """
    steps = examples // batch_size

    def batches(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        order = jax.random.permutation(jax.random.fold_in(key, epoch), examples)
        return order[: steps * batch_size].reshape(steps, batch_size)

    return batches
