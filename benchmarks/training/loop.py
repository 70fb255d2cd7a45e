"""The training loop: parts of an epoch, steps of vmapped lanes, compiled once.

A lane is one run: an optimizer, a trial of its numbers and a seed. The lanes of an
optimizer are stacked on two leading axes, (seed, trial).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.optimizers.method import Method, OptState, Params
from benchmarks.training.task import Task


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

Lanes = dict[str, Lane]
Epoch = Callable[..., Lanes]
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


def init_lane(
    task: Task, method: Method, params: dict[str, Any], stats: Any, trial: Any
) -> Lane:
    """A run before its first step, from the networks' parameters and statistics."""
    params = {player: method.start(own) for player, own in params.items()}
    states = {player: method.make(trial).init(own) for player, own in params.items()}
    measures = {name: jnp.float32(jnp.nan) for name in task.measures}
    return Lane(params, stats, states, measures, jnp.asarray(False))


def gradient(
    task: Task,
    perturb: Perturb,
    player: str,
    params: dict[str, Any],
    stats: Any,
    data: Any,
    batch: Any,
    key: jax.Array,
) -> tuple[jax.Array, Any, dict[str, jax.Array], Any]:
    """A player's loss in a lane, the new statistics, what it measures, its gradient.

    `params` are, by player, those at which the gradient is taken.
    """

    def loss(own: Any) -> Any:
        return task.players[player](params | {player: own}, stats, data, batch, key)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    (value, (stats, measures)), grads = value_and_grad(params[player])
    number = [*task.players].index(player) + 1
    return value, stats, measures, perturb(grads, jax.random.fold_in(key, number))


def update(
    method: Method, trial: Any, grads: Any, state: OptState, params: Params
) -> tuple[Params, OptState]:
    """A player's parameters in a lane and its optimizer's state after its turn."""
    updates, state = method.make(trial).update(grads, state, params)
    return optax.apply_updates(params, updates), state


def end_part(
    lane: Lane,
    first: jax.Array | int,
    measures: dict[str, jax.Array],
    losses: list[jax.Array],
) -> Lane:
    """The lanes of an optimizer after steps of an epoch from `first` on.

    What these steps measured, and every player's losses, are stacked on axis 0.
    """

    def mean_so_far(before: jax.Array, values: jax.Array) -> jax.Array:
        mean = values.mean(axis=0, dtype=jnp.float32)
        part = len(values) / (first + len(values))
        return jnp.where(first == 0, mean, before + part * (mean - before))

    means = jax.tree.map(mean_so_far, lane.measures, measures)
    finite = jnp.isfinite(jnp.stack(losses)).all(axis=(0, 1))
    return lane._replace(measures=means, diverged=lane.diverged | ~finite)


def init_lanes(
    task: Task, methods: Mapping[str, Method], trials: Trials, seeds: jax.Array
) -> Lanes:
    """All runs before their first step, by optimizer.

    Args:
      task: what is trained.
      methods: optimizers by name.
      trials: l of each.
      seeds: integers, shape (s,).

    Returns:
      Lanes stacked on (s, l). A seed starts from the same parameters in all of them.
    """
    params, stats = jax.vmap(lambda seed: task.init(init_key(seed)))(seeds)

    def stack(name: str) -> Lane:
        over_trials = jax.vmap(partial(init_lane, task, methods[name]), (None, None, 0))
        return jax.vmap(over_trials, (0, 0, None))(params, stats, trials[name])

    return {name: stack(name) for name in methods}


def make_epoch(
    task: Task,
    methods: Mapping[str, Method],
    perturb: Perturb = lambda grads, key: grads,
    at_once: int | None = None,
    part: int | None = None,
) -> Epoch:
    """The function that trains all lanes for one epoch, to be jit-compiled once.

    In a step the gradients of all lanes are taken together, whatever their optimizer.

    It takes the lanes, the train split, the trials, seeds (s,), the number of the epoch
    and that of its first step, both from 0. In an epoch a seed sees the same batches,
    augmented in the same way, and the same noise in all its lanes.

    Args:
      task: what is trained.
      methods: optimizers by name.
      perturb: (gradients, key) -> the gradients that the optimizer gets.
      at_once: trials whose gradients are taken together, the others' after them: with
        fewer a step needs less memory, though all gradients and a copy of all
        parameters have room anyway. None takes all.
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

    def turn(
        player: str, lanes: Lanes, data: Any, trials: Trials, batch: Any, key: Any
    ) -> tuple[Lanes, dict[str, Any]]:
        """All lanes' gradients together, then each optimizer's updates."""

        def of_seed(seen: Any, batch: Any, key: Any) -> Any:
            def of_lane(seen: tuple[dict[str, Any], Any]) -> Any:
                params, stats = seen
                return gradient(task, perturb, player, params, stats, data, batch, key)

            return in_parts(of_lane, at_once)(seen)

        seen = {name: (seen_by(methods[name], x), x.stats) for name, x in lanes.items()}
        found = jax.vmap(of_seed)(join(seen), batch, key)
        after, measured = {}, {}
        for name, (loss, stats, measures, grads) in split(found, lanes).items():
            lane = lanes[name]
            own, state = jax.vmap(
                jax.vmap(partial(update, methods[name])), (None, 0, 0, 0)
            )(trials[name], grads, lane.opt_state[player], lane.params[player])
            after[name] = lane._replace(
                params=lane.params | {player: own},
                stats=stats,
                opt_state=lane.opt_state | {player: state},
            )
            measured[name] = measures, loss
        return after, measured

    def epoch(
        lanes: Lanes,
        data: Any,
        trials: Trials,
        seeds: jax.Array,
        number: jax.Array,
        first: jax.Array | int = 0,
    ) -> Lanes:
        def step(lanes: Lanes, batch_and_key: Any) -> Any:
            measures: dict[str, dict[str, jax.Array]] = {name: {} for name in lanes}
            losses: dict[str, list[jax.Array]] = {name: [] for name in lanes}
            for player in task.players:
                lanes, measured = turn(player, lanes, data, trials, *batch_and_key)
                for name, (found, loss) in measured.items():
                    measures[name] |= found
                    losses[name].append(loss)
            return lanes, (measures, losses)

        steps = jax.vmap(inputs, (0, None, None), 1)(seeds, number, first)
        if part == 1:  # in a loop XLA runs plain convolutions slowly on a CPU
            lanes, one = step(lanes, jax.tree.map(lambda x: x[0], steps))
            measures, losses = jax.tree.map(lambda x: x[jnp.newaxis], one)
        else:
            lanes, (measures, losses) = jax.lax.scan(step, lanes, steps)
        return {
            name: end_part(lane, first, measures[name], losses[name])
            for name, lane in lanes.items()
        }

    return epoch


def seen_by(method: Method, lane: Lane) -> dict[str, Any]:
    """By player, the parameters at which the lanes' gradients are taken."""
    seen = jax.vmap(jax.vmap(method.gradient_at))
    return {player: seen(params) for player, params in lane.params.items()}


def join(by_name: Mapping[str, Any]) -> Any:
    """One pytree for all optimizers: their trials one after the other."""
    return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=1), *by_name.values())


def split(joined: Any, lanes: Lanes) -> dict[str, Any]:
    """What was joined, by optimizer again."""
    parts, start = {}, 0
    for name, lane in lanes.items():
        end = start + lane.diverged.shape[1]
        parts[name] = jax.tree.map(lambda x, s=slice(start, end): x[:, s], joined)
        start = end
    return parts


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
