"""The training loop: epochs of a scan over vmapped lanes, compiled once.

A lane is one run: an optimizer, a trial of its numbers and a seed. The lanes of an
optimizer are stacked on two leading axes, (seed, trial).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.optimizers import Method
from benchmarks.tasks import Task


class Lane(NamedTuple):
    """One run, or many stacked on (seed, trial).

    Attributes:
      params: by player, what the loop updates: mostly a network's parameters.
      stats: what the networks carry along untrained (see `Task`); no optimizer sees it.
      opt_state: by player, the state of its optimizer.
      measures: float32, shape (), by name: means over the steps of the last epoch of
        what the losses measure, each taken before its update; within an epoch over
        its steps so far.
      diverged: bool, shape (), whether the loss of any step so far was not finite.
    """

    params: dict[str, Any]
    stats: Any
    opt_state: dict[str, Any]
    measures: dict[str, jax.Array]
    diverged: jax.Array


Trials = Mapping[str, Mapping[str, Any]]
"""By optimizer, arrays of shape (l,) by name, such as `learning_rate`."""

Epoch = Callable[..., dict[str, Lane]]
Evaluate = Callable[[dict[str, Any], Any, Any], dict[str, jax.Array]]
Perturb = Callable[[Any, jax.Array], Any]


def init_key(seed: jax.Array | int) -> jax.Array:
    """Key of a seed's initial parameters."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def order_key(seed: jax.Array | int) -> jax.Array:
    """Key of a seed's data order; the task folds in the epoch."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def step_key(seed: jax.Array | int, step: jax.Array | int) -> jax.Array:
    """Key of a seed's chances at a step, counted from 0 over all epochs.

    It is the losses'; the noise of the n-th player's gradient folds in another n.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), step)


def init_lane(task: Task, method: Method, trial: Any, seed: jax.Array) -> Lane:
    """A run before its first step."""
    params, stats = task.init(init_key(seed))
    params = {player: method.start(own) for player, own in params.items()}
    states = {player: method.make(trial).init(own) for player, own in params.items()}
    measures = {name: jnp.float32(jnp.nan) for name in task.measures}
    return Lane(params, stats, states, measures, jnp.asarray(False))


def train_lane(
    task: Task,
    method: Method,
    perturb: Perturb,
    data: Any,
    trial: Any,
    first: jax.Array | int,
    inputs: tuple[Any, jax.Array],
    lane: Lane,
) -> Lane:
    """A run after more steps of an epoch, from `first` on.

    `inputs` are the batches and keys of these steps.
    """
    optimizer = method.make(trial)

    def turn(player: str, number: int, carry: Any, batch: Any, key: jax.Array) -> Any:
        params, stats, states = carry
        seen = {name: method.gradient_at(x) for name, x in params.items()}

        def loss(own: Any) -> Any:
            return task.players[player](seen | {player: own}, stats, data, batch, key)

        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        (value, (new_stats, found)), grads = value_and_grad(seen[player])
        grads = perturb(grads, jax.random.fold_in(key, number))
        updates, state = optimizer.update(grads, states[player], params[player])
        own = optax.apply_updates(params[player], updates)
        carry = (params | {player: own}, new_stats, states | {player: state})
        return carry, value, found

    def step(carry: Any, batch_and_key: Any) -> tuple[Any, Any]:
        measures: dict[str, jax.Array] = {}
        losses = []
        for number, player in enumerate(task.players, start=1):
            carry, value, found = turn(player, number, carry, *batch_and_key)
            losses.append(value)
            measures |= found
        return carry, (measures, losses)

    start = (lane.params, lane.stats, lane.opt_state)
    (params, stats, states), (measures, losses) = jax.lax.scan(step, start, inputs)
    finite = jnp.isfinite(jnp.stack(losses)).all()

    def mean_so_far(before: jax.Array, values: jax.Array) -> jax.Array:
        mean = values.mean(dtype=jnp.float32)
        part = len(values) / (first + len(values))
        return jnp.where(first == 0, mean, before + part * (mean - before))

    means = jax.tree.map(mean_so_far, lane.measures, measures)
    return Lane(params, stats, states, means, lane.diverged | ~finite)


def init_lanes(
    task: Task, methods: Mapping[str, Method], trials: Trials, seeds: jax.Array
) -> dict[str, Lane]:
    """All runs before their first step, by optimizer.

    Args:
      task: what is trained.
      methods: optimizers by name.
      trials: l of each.
      seeds: integers, shape (s,).

    Returns:
      Lanes stacked on (s, l). A seed starts from the same parameters in all of them.
    """

    def stack(name: str) -> Lane:
        over_trials = jax.vmap(partial(init_lane, task, methods[name]), (0, None))
        return jax.vmap(over_trials, (None, 0))(trials[name], seeds)

    return {name: stack(name) for name in methods}


def make_epoch(
    task: Task,
    methods: Mapping[str, Method],
    perturb: Perturb = lambda grads, key: grads,
    at_once: int | None = None,
    part: int | None = None,
) -> Epoch:
    """The function that trains all lanes for one epoch, to be jit-compiled once.

    It takes the lanes, the train split, the trials, seeds (s,), the number of the epoch
    and that of its first step, both from 0. In an epoch a seed sees the same batches,
    augmented in the same way, and the same noise in all its lanes.

    Args:
      task: what is trained.
      methods: optimizers by name.
      perturb: (gradients, key) -> the gradients that the optimizer gets.
      at_once: trials of an optimizer that run together, the others after them: with
        fewer an epoch needs less memory. None takes all.
      part: steps to train, from the first one on; None is the whole epoch.
    """

    def inputs(
        seed: jax.Array, number: jax.Array, first: jax.Array | int
    ) -> tuple[Any, jax.Array]:
        batches = task.batches(order_key(seed), number)
        steps = len(jax.tree.leaves(batches)[0])
        size = part or steps
        here = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, first, size), batches
        )
        start = number * steps + first
        return here, jax.vmap(partial(step_key, seed))(start + jnp.arange(size))

    def epoch(
        lanes: dict[str, Lane],
        data: Any,
        trials: Trials,
        seeds: jax.Array,
        number: jax.Array,
        first: jax.Array | int = 0,
    ) -> dict[str, Lane]:
        batches_and_keys = jax.vmap(inputs, (0, None, None))(seeds, number, first)

        def train(name: str) -> Lane:
            run = partial(train_lane, task, methods[name], perturb, data)

            def of_seed(inputs: Any, lanes: Lane) -> Lane:
                in_turn = in_parts(lambda x: run(x[0], first, inputs, x[1]), at_once)
                return in_turn((trials[name], lanes))

            return jax.vmap(of_seed)(batches_and_keys, lanes[name])

        return {name: train(name) for name in methods}

    return epoch


def in_parts(function: Callable[[Any], Any], size: int | None) -> Callable[[Any], Any]:
    """`function` over the leading axis, `size` at a time; None takes all at once."""
    if size is None:
        return jax.vmap(function)
    return lambda xs: jax.lax.map(function, xs, batch_size=size)


def make_evaluate(task: Task) -> Evaluate:
    """The function from stacked parameters, statistics and a split to (s, l) metrics.

    Seeds run together and trials one by one, to bound the memory.
    """

    def evaluate(params: Any, stats: Any, data: Any) -> dict[str, jax.Array]:
        def over_trials(params: Any, stats: Any) -> Any:
            return jax.lax.map(
                lambda lane: task.evaluate(lane[0], lane[1], data), (params, stats)
            )

        scores: dict[str, jax.Array] = jax.vmap(over_trials)(params, stats)
        return scores

    compiled: Evaluate = jax.jit(evaluate)
    return compiled
