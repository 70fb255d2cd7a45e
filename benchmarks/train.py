"""The training loop: epochs of a scan over vmapped lanes, compiled once.

A lane is one run: an optimizer, a learning rate and a seed. The lanes of an optimizer
are stacked on two leading axes, (seed, learning rate).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.tasks import Task

MakeOptimizer = Callable[[jax.Array], optax.GradientTransformation]


class Lane(NamedTuple):
    """One run, or many stacked on (seed, learning rate).

    Attributes:
      params: the parameters.
      stats: what the network carries along untrained (see `Task`); the optimizer never
        sees it.
      opt_state: the optimizer's state.
      loss: float32, shape (), mean loss over the steps of the last epoch.
      diverged: bool, shape (), whether the loss of any step so far was not finite.
    """

    params: Any
    stats: Any
    opt_state: Any
    loss: jax.Array
    diverged: jax.Array


Epoch = Callable[
    [dict[str, Lane], Any, jax.Array, jax.Array, jax.Array], dict[str, Lane]
]

Evaluate = Callable[[Any, Any, Any], dict[str, jax.Array]]


def init_key(seed: jax.Array | int) -> jax.Array:
    """Key of a seed's initial parameters."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def order_key(seed: jax.Array | int) -> jax.Array:
    """Key of a seed's data order; the task folds in the epoch."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def step_key(seed: jax.Array | int, step: jax.Array | int) -> jax.Array:
    """Key of a seed's augmentation at a step, counted from 0 over all epochs."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), step)


def init_lane(
    task: Task, make: MakeOptimizer, rate: jax.Array, seed: jax.Array
) -> Lane:
    """A run before its first step."""
    params, stats = task.init(init_key(seed))
    state = make(rate).init(params)
    return Lane(params, stats, state, jnp.float32(jnp.nan), jnp.asarray(False))


def train_lane(
    task: Task,
    make: MakeOptimizer,
    data: Any,
    rate: jax.Array,
    inputs: tuple[Any, jax.Array],
    lane: Lane,
) -> Lane:
    """A run after one more epoch; `inputs` are its steps' batches and keys."""
    optimizer = make(rate)
    value_and_grad = jax.value_and_grad(task.loss, has_aux=True)

    def step(carry: Any, batch_and_key: Any) -> tuple[Any, jax.Array]:
        params, stats, state = carry
        (loss, stats), grads = value_and_grad(params, stats, data, *batch_and_key)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), stats, state), loss

    start = (lane.params, lane.stats, lane.opt_state)
    (params, stats, state), losses = jax.lax.scan(step, start, inputs)
    diverged = lane.diverged | ~jnp.isfinite(losses).all()
    return Lane(params, stats, state, losses.mean(), diverged)


def init_lanes(
    task: Task,
    optimizers: Mapping[str, MakeOptimizer],
    rates: jax.Array,
    seeds: jax.Array,
) -> dict[str, Lane]:
    """All runs before their first step, by optimizer.

    Args:
      task: what is trained.
      optimizers: functions from a learning rate to an optimizer, by name.
      rates: learning rates, shape (l,).
      seeds: integers, shape (s,).

    Returns:
      Lanes stacked on (s, l). A seed starts from the same parameters in all of them.
    """

    def stack(make: MakeOptimizer) -> Lane:
        over_rates = jax.vmap(partial(init_lane, task, make), (0, None))
        return jax.vmap(over_rates, (None, 0))(rates, seeds)

    return {name: stack(make) for name, make in optimizers.items()}


def make_epoch(task: Task, optimizers: Mapping[str, MakeOptimizer]) -> Epoch:
    """The function that trains all lanes for one epoch, to be jit-compiled once.

    It takes the lanes, the train split, learning rates (l,), seeds (s,) and the number
    of the epoch from 0. In an epoch a seed sees the same batches, augmented in the same
    way, in all its lanes.
    """

    def inputs(seed: jax.Array, number: jax.Array) -> tuple[Any, jax.Array]:
        batches = task.batches(order_key(seed), number)
        steps = len(jax.tree.leaves(batches)[0])
        keys = jax.vmap(partial(step_key, seed))(number * steps + jnp.arange(steps))
        return batches, keys

    def epoch(
        lanes: dict[str, Lane],
        data: Any,
        rates: jax.Array,
        seeds: jax.Array,
        number: jax.Array,
    ) -> dict[str, Lane]:
        batches_and_keys = jax.vmap(inputs, (0, None))(seeds, number)

        def train(make: MakeOptimizer, lane: Lane) -> Lane:
            over_rates = jax.vmap(partial(train_lane, task, make, data), (0, None, 0))
            return jax.vmap(over_rates, (None, 0, 0))(rates, batches_and_keys, lane)

        return {name: train(make, lanes[name]) for name, make in optimizers.items()}

    return epoch


def make_evaluate(task: Task) -> Evaluate:
    """The function from stacked parameters, statistics and a split to (s, l) metrics.

    Seeds run together and learning rates one by one, to bound the memory.
    """

    def evaluate(params: Any, stats: Any, data: Any) -> dict[str, jax.Array]:
        def over_rates(params: Any, stats: Any) -> Any:
            return jax.lax.map(
                lambda lane: task.evaluate(lane[0], lane[1], data), (params, stats)
            )

        scores: dict[str, jax.Array] = jax.vmap(over_rates)(params, stats)
        return scores

    compiled: Evaluate = jax.jit(evaluate)
    return compiled
