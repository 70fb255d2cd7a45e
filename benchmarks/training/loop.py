"""The training loop: parts of an epoch, steps of vmapped lanes, compiled once.

A lane is one run: an optimizer, a trial of its numbers and a seed. The lanes of an
optimizer are stacked on two leading axes, (seed, trial).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.optimizers.method import Method, OptState, Params
from benchmarks.training.keys import init_key, order_key, step_key
from benchmarks.training.noise import Perturb, no_noise
from benchmarks.training.series import hand_over
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


Lanes = dict[str, Lane]
"""By optimizer, its lanes stacked on (seed, trial)."""

AllNumbers = Mapping[str, Mapping[str, Any]]
"""By optimizer, the numbers of its l trials: arrays of shape (l,) by name."""

Evaluate = Callable[[dict[str, Any], Any, Any], dict[str, jax.Array]]
"""From stacked parameters by player, statistics and a split to measures of (s, l)."""


class Training(NamedTuple):
    """What all lanes share while they train.

    Attributes:
      task: what is trained.
      methods: optimizers by name.
      numbers: of their trials.
      data: the train split.
      perturb: what is done to a gradient before its optimizer gets it.
      at_once: trials whose gradients are taken together; None takes all.
    """

    task: Task
    methods: Mapping[str, Method]
    numbers: AllNumbers
    data: Any
    perturb: Perturb
    at_once: int | None


def init_lanes(
    task: Task, methods: Mapping[str, Method], numbers: AllNumbers, seeds: jax.Array
) -> Lanes:
    """Make all lanes before their first step.

    Args:
      task: what is trained.
      methods: optimizers by name.
      numbers: of l trials of each.
      seeds: integers, shape (s,).

    Returns:
      Lanes stacked on (s, l). A seed starts from the same parameters in all of them.
    """
    params, stats = jax.vmap(lambda seed: task.init(init_key(seed)))(seeds)

    def stack(name: str) -> Lane:
        start = partial(init_lane, task.measures, methods[name])
        over_trials = jax.vmap(start, (None, None, 0))
        return jax.vmap(over_trials, (0, 0, None))(params, stats, numbers[name])

    return {name: stack(name) for name in methods}


def init_lane(
    measured: Iterable[str], method: Method, params: Any, stats: Any, numbers: Any
) -> Lane:
    """Make a lane from the networks' initial parameters and statistics."""
    params = {player: method.start(own) for player, own in params.items()}
    states = {player: method.make(numbers).init(own) for player, own in params.items()}
    measures = {name: jnp.float32(jnp.nan) for name in measured}
    return Lane(params, stats, states, measures, jnp.asarray(False))


def epoch(
    task: Task,
    methods: Mapping[str, Method],
    lanes: Lanes,
    data: Any,
    numbers: AllNumbers,
    seeds: jax.Array,
    epoch_number: jax.Array | int,
    first: jax.Array | int = 0,
    *,
    perturb: Perturb = no_noise,
    at_once: int | None = None,
    part: int | None = None,
) -> Lanes:
    """Train all lanes for an epoch, or for a part of it.

    In an epoch a seed sees the same batches, augmented in the same way, and the same
    noise in all its lanes.

    Args:
      task: what is trained.
      methods: optimizers by name.
      lanes: before the epoch or part.
      data: the train split.
      numbers: of the trials of each optimizer.
      seeds: integers, shape (s,).
      epoch_number: counted from 0.
      first: the part's first step in the epoch, counted from 0.
      perturb: what is done to a gradient before its optimizer gets it.
      at_once: trials whose gradients are taken together, the others' after them: with
        fewer a step needs less memory, though all gradients and a copy of all
        parameters have room anyway. None takes all.
      part: steps to train, from the first one on; None is the whole epoch.
    """
    training = Training(task, methods, numbers, data, perturb, at_once)
    lanes = begun(training, lanes, seeds, epoch_number, first)
    of_seed = partial(batches_and_keys, task, part)
    inputs = jax.vmap(of_seed, (0, None, None), 1)(seeds, epoch_number, first)
    if part == 1:  # in a loop XLA runs plain convolutions slowly on a CPU
        lanes, one = step(training, lanes, jax.tree.map(lambda x: x[0], inputs))
        measures, losses = jax.tree.map(lambda x: x[jnp.newaxis], one)
    else:
        lanes, (measures, losses) = jax.lax.scan(partial(step, training), lanes, inputs)
    return {
        name: with_measures(lane, first, measures[name], losses[name])
        for name, lane in lanes.items()
    }


def begun(
    training: Training,
    lanes: Lanes,
    seeds: jax.Array,
    epoch_number: jax.Array | int,
    first: jax.Array | int,
) -> Lanes:
    """Return the lanes at a part's begin: where a task ended, with what it left."""
    if (series := training.task.series) is None:
        return lanes

    def after(name: str, lane: Lane) -> Lane:
        its = training.methods[name], training.numbers[name]
        when = training.data, seeds, epoch_number
        held = lane.params, lane.stats, lane.opt_state
        return lane._replace(opt_state=hand_over(series, *its, *when, *held))

    return jax.lax.cond(
        series.begins(epoch_number) & (first == 0),
        lambda: {name: after(name, lane) for name, lane in lanes.items()},
        lambda: lanes,
    )


def batches_and_keys(
    task: Task,
    part: int | None,
    seed: jax.Array,
    epoch_number: jax.Array | int,
    first: jax.Array | int,
) -> tuple[Any, jax.Array]:
    """Return a seed's batch and key of each step of a part of an epoch."""
    batches = task.batches(order_key(seed), epoch_number)
    steps = len(jax.tree.leaves(batches)[0])
    size = part or steps
    here = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, size), batches)
    start = epoch_number * steps + first
    return here, jax.vmap(partial(step_key, seed))(start + jnp.arange(size))


def step(training: Training, lanes: Lanes, batch_and_key: Any) -> tuple[Lanes, Any]:
    """Let every player take its turn.

    Returns the lanes, and by optimizer what its losses measured and every loss.
    """
    measures: dict[str, dict[str, jax.Array]] = {name: {} for name in lanes}
    losses: dict[str, list[jax.Array]] = {name: [] for name in lanes}
    for player in training.task.players:
        lanes, measured = turn(training, player, lanes, *batch_and_key)
        for name, (found, loss) in measured.items():
            measures[name] |= found
            losses[name].append(loss)
    return lanes, (measures, losses)


def turn(
    training: Training, player: str, lanes: Lanes, batch: Any, key: Any
) -> tuple[Lanes, dict[str, Any]]:
    """Update a player in all lanes: all gradients together, then each optimizer.

    Returns the lanes, and by optimizer what its losses measured and the losses.
    """
    methods = training.methods
    at = {
        name: (gradient_points(methods[name], x), x.stats) for name, x in lanes.items()
    }
    of_seed = partial(gradients_of_seed, training, player)
    found = jax.vmap(of_seed)(concatenate(at), batch, key)
    after, measured = {}, {}
    for name, (loss, stats, measures, grads) in by_optimizer(found, lanes).items():
        lane = lanes[name]
        of_lane = partial(update, training, name)
        over_trials = jax.vmap(of_lane, (None, None, 0, 0, 0, 0, 0))
        own, state = jax.vmap(over_trials, (0, 0, None, 0, 0, 0, 0))(
            *(batch, key, training.numbers[name], grads),
            *(lane.stats, lane.opt_state[player], lane.params[player]),
        )
        after[name] = lane._replace(
            params=lane.params | {player: own},
            stats=stats,
            opt_state=lane.opt_state | {player: state},
        )
        measured[name] = measures, loss
    return after, measured


def gradient_points(method: Method, lane: Lane) -> dict[str, Any]:
    """Return, by player, the parameters at which the lanes' gradients are taken."""
    at = jax.vmap(jax.vmap(method.gradient_at))
    return {player: at(params) for player, params in lane.params.items()}


def concatenate(by_name: Mapping[str, Any]) -> Any:
    """Join the pytrees of all optimizers, their trials one after the other."""
    return jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=1), *by_name.values())


def by_optimizer(concatenated: Any, lanes: Lanes) -> dict[str, Any]:
    """Undo `concatenate`."""
    parts, start = {}, 0
    for name, lane in lanes.items():
        end = start + lane.diverged.shape[1]
        parts[name] = jax.tree.map(lambda x, s=slice(start, end): x[:, s], concatenated)
        start = end
    return parts


def gradients_of_seed(
    training: Training, player: str, at: tuple[Any, Any], batch: Any, key: jax.Array
) -> Any:
    """Apply `gradient` to the lanes of a seed, as many at once as fit."""
    of_lane = partial(gradient, training, player, batch, key)
    if training.at_once is None:
        return jax.vmap(of_lane)(at)
    return jax.lax.map(of_lane, at, batch_size=training.at_once)


def gradient(
    training: Training,
    player: str,
    batch: Any,
    key: jax.Array,
    at: tuple[dict[str, Any], Any],
) -> tuple[jax.Array, Any, dict[str, jax.Array], Any]:
    """Differentiate a player's loss in a lane.

    `at` is, by player, the parameters at which the gradient is taken, and statistics.

    Returns the loss, the new statistics, what the loss measures, and the gradient.
    """
    (params, stats), task = at, training.task

    def loss(own: Any) -> Any:
        everyone = params | {player: own}
        return task.players[player](everyone, stats, training.data, batch, key)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    (value, (stats, measures)), grads = value_and_grad(params[player])
    noise_key = jax.random.fold_in(key, [*task.players].index(player) + 1)
    return value, stats, measures, training.perturb(grads, noise_key)


def update(
    training: Training,
    name: str,
    batch: Any,
    key: jax.Array,
    numbers: Any,
    grads: Any,
    stats: Any,
    state: OptState,
    params: Params,
) -> tuple[Params, OptState]:
    """Return a player's parameters and its optimizer's state after its turn."""
    tx = optax.with_extra_args_support(training.methods[name].make(numbers))
    extra: dict[str, Any] = {"key": jax.random.fold_in(key, 0)}
    if (series := training.task.series) is not None:
        extra["lesson"] = series.batch(stats, training.data, batch, key)
    updates, state = tx.update(grads, state, params, **extra)
    return optax.apply_updates(params, updates), state


def with_measures(
    lane: Lane,
    first: jax.Array | int,
    measures: dict[str, jax.Array],
    losses: list[jax.Array],
) -> Lane:
    """Note in an optimizer's lanes what the steps from `first` on measured.

    The measures, and every player's losses, are stacked over the steps on axis 0.
    """

    def mean_so_far(before: jax.Array, values: jax.Array) -> jax.Array:
        mean = values.mean(axis=0, dtype=jnp.float32)
        part = len(values) / (first + len(values))
        return jnp.where(first == 0, mean, before + part * (mean - before))

    means = jax.tree.map(mean_so_far, lane.measures, measures)
    finite = jnp.isfinite(jnp.stack(losses)).all(axis=(0, 1))
    return lane._replace(measures=means, diverged=lane.diverged | ~finite)


def evaluator(task: Task) -> Evaluate:
    """Return the compiled function that evaluates stacked networks on a split.

    Seeds run together and trials one by one, to bound the memory.
    """

    def of_seed(params: Any, stats: Any, data: Any) -> Any:
        return jax.lax.map(
            lambda lane: task.evaluate(lane[0], lane[1], data), (params, stats)
        )

    compiled: Evaluate = jax.jit(jax.vmap(of_seed, (0, 0, None)))
    return compiled
