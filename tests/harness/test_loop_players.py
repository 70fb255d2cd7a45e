"""The training loop with two networks that take turns, against NumPy."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_loop import alone, trainer

from benchmarks.experiments import classify
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.optimizers.method import Method, Settings
from benchmarks.runs import grid
from benchmarks.training import loop
from benchmarks.training.keys import step_key
from benchmarks.training.noise import Noise, perturb
from benchmarks.training.task import Task

STEPS, EPOCHS, RATE, SEEDS = 7, 2, 0.05, jnp.arange(2)
TARGETS = np.linspace(-1, 2, STEPS)


def first_loss(params, stats, data, batch, key):
    """Have the gradient 2 a b^2 + target by a."""
    value = (params["a"] * params["b"]) ** 2 + batch * params["a"]
    return value, (stats + 1, {"first": value})


def second_loss(params, stats, data, batch, key):
    """Have the gradient 2 (b - a) by b."""
    value = (params["b"] - params["a"]) ** 2
    return value, (stats + 10, {"second": value})


TWO = Task(
    init=lambda key: ({"a": jnp.float32(1.5), "b": jnp.float32(0.5)}, jnp.int32(0)),
    batches=lambda key, epoch: jnp.asarray(TARGETS, jnp.float32),
    players={"a": first_loss, "b": second_loss},
    evaluate=lambda params, stats, data: {},
    measures=("first", "second"),
)


def lanes_of(methods, task=TWO, perturb=lambda grads, key: grads):
    trials = {name: {"learning_rate": jnp.asarray([RATE])} for name in methods}
    lanes = loop.init_lanes(task, methods, trials, SEEDS)
    epoch = jax.jit(partial(loop.epoch, task, methods, perturb=perturb))
    for number in range(EPOCHS):
        lanes = epoch(lanes, None, trials, SEEDS, jnp.int32(number))
    return lanes


@pytest.fixture(scope="module")
def method():
    """TRSGD with a period of 3: 14 steps are 4 periods and a part."""
    settings = Settings(momentum=0.9, weight_decay=0.0, period=3)
    decay = grid.decay_schedule((), steps=STEPS * EPOCHS)
    return OPTIMIZERS["trsgd"].bind(decay, settings, 1)


def test_players_take_turns_and_count_their_own_steps(method):
    """The second sees the first's new parameters; each anchors every third step."""
    w, anchor, buffer = {"a": 1.5, "b": 0.5}, {}, {"a": 0.0, "b": 0.0}
    for t, target in enumerate(np.tile(TARGETS, EPOCHS)):
        for name in ("a", "b"):
            k = t % 3
            if k == 0:
                anchor[name] = w[name]
            grad = {
                "a": 2 * w["a"] * w["b"] ** 2 + target,
                "b": 2 * (w["b"] - w["a"]),
            }[name]
            grad += 2 * 0.1 * (w[name] - anchor[name])
            buffer[name] = 0.9 * buffer[name] + grad
            w[name] -= RATE / (k + 1) * buffer[name]
    lane = lanes_of({"trsgd": method})["trsgd"]
    for name, expected in w.items():
        # float32: 28 updates of order 1
        np.testing.assert_allclose(lane.params[name][0, 0], expected, rtol=1e-5)
    assert int(lane.stats[0, 0]) == 11 * STEPS * EPOCHS
    assert set(lane.opt_state) == {"a", "b"}
    assert set(lane.measures) == {"first", "second"}


@pytest.mark.parametrize(("at_once", "part"), [(None, None), (2, None), (None, 1)])
def test_lanes_of_several_optimizers_are_those_of_each_alone(method, at_once, part):
    """Of 3 and 2 trials, so that two at once are of two optimizers."""
    sgd = Method(lambda trial: optax.sgd(trial["learning_rate"]))
    methods = {"sgd": sgd, "trsgd": method}
    rates = {"sgd": [RATE, 2 * RATE, 3 * RATE], "trsgd": [RATE, RATE / 2]}
    trials = {name: {"learning_rate": jnp.asarray(x)} for name, x in rates.items()}

    def trained(names, at_once=None, part=None):
        few = {name: methods[name] for name in names}
        lanes = loop.init_lanes(TWO, few, trials, SEEDS)
        epoch = jax.jit(partial(loop.epoch, TWO, few, at_once=at_once, part=part))
        parts = range(0, STEPS, part or STEPS)
        for number, first in itertools.product(range(EPOCHS), parts):
            lanes = epoch(lanes, None, trials, SEEDS, jnp.int32(number), first)
        return lanes

    together = trained(methods, at_once, part)
    for name, rate in rates.items():
        assert together[name].diverged.shape == (len(SEEDS), len(rate))
        alone = trained([name])[name]
        for a, b in zip(*map(jax.tree.leaves, (together[name], alone)), strict=True):
            # Another program may round otherwise: float32, 28 updates of order 1.
            np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("player", ["a", "b"])
def test_a_loss_of_any_player_that_is_not_finite_diverges(method, player):
    def broken(params, stats, data, batch, key):
        return jnp.nan * params[player], (stats, {})

    task = TWO._replace(players=dict(TWO.players) | {player: broken})
    measures = tuple(set(TWO.measures) - {{"a": "first", "b": "second"}[player]})
    lane = lanes_of({"trsgd": method}, task._replace(measures=measures))["trsgd"]
    assert lane.diverged.all()
    assert not lanes_of({"trsgd": method})["trsgd"].diverged.any()


def test_each_player_has_noise_of_its_own(method):
    """Losses without gradient: what moves the parameters is the noise alone."""

    def flat(params, stats, data, batch, key):
        return 0.0 * (params["a"] + params["b"]), (stats, {})

    task = TWO._replace(
        init=lambda key: ({"a": jnp.float32(0), "b": jnp.float32(0)}, jnp.int32(0)),
        players={"a": flat, "b": flat},
        measures=(),
    )
    noise = perturb(Noise("gaussian", 1.0))
    ends = lanes_of({"trsgd": method}, task, noise)["trsgd"].params
    assert abs(float(ends["a"][0, 0] - ends["b"][0, 0])) > 1e-3


@pytest.mark.parametrize("name", ["lookahead", "schedule-free", "weight average"])
def test_the_other_player_is_seen_as_its_method_takes_gradients(name):
    """Not as what the loop updates: Lookahead's pair has no product."""
    program = grid.Program(1, Noise(), (name,), range(1), (0,))
    methods = grid.methods(classify.DEMO, program, steps=STEPS * EPOCHS)
    lane = lanes_of(methods)[name]
    evaluated = jax.vmap(jax.vmap(methods[name].evaluated))
    for player, params in lane.params.items():
        ends = evaluated(params, lane.opt_state[player])
        jax.tree.map(partial(np.testing.assert_array_equal, True), jnp.isfinite(ends))


def test_a_step_has_the_key_of_its_seed_and_number():
    """A loss that is a hash of the keys it was given, whatever the parameters."""
    spy = alone(
        jnp.zeros(()),
        lambda key, epoch: jnp.zeros(8),
        lambda own, batch, key: jax.random.uniform(key) + 0 * own,
    )
    sgd = Method(lambda trial: optax.sgd(trial["learning_rate"]))
    history = trainer(spy, {"sgd": sgd}, None)()
    for epoch, lanes in enumerate(history):
        numbers = range(epoch * 8, (epoch + 1) * 8)
        for seed, rate in np.ndindex(2, 2):
            keys = [step_key(seed, number) for number in numbers]
            expected = np.mean([jax.random.uniform(key) for key in keys])
            # float32: a mean of 8 values below 1
            np.testing.assert_allclose(
                lanes["sgd"].measures["loss"][seed, rate], expected, rtol=1e-6
            )
