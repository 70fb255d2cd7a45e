"""The training loop: its lanes equal single runs, and see what they should."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import models
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments import classify
from benchmarks.optimizers.method import Method
from benchmarks.runs import grid
from benchmarks.tasks import classify as classifying
from benchmarks.training import loop
from benchmarks.training.keys import init_key, order_key, step_key
from benchmarks.training.noise import Noise, perturb
from benchmarks.training.task import Task

RATES = (0.01, 0.05)
SEEDS = jnp.arange(2)
EPOCHS, STEPS = 3, 8
WRAPPED = ("lookahead", "weight average", "schedule-free", "sam")  # not plain params
NAMES = (*classify.DEMO.optimizers, *WRAPPED)
PROGRAM = grid.Program(8, Noise(), NAMES, range(2), (0, 1))


@pytest.fixture(scope="module")
def splits() -> ImageSet:
    """Digits with a train split of 64: 8 steps an epoch, 24 a run (3 periods)."""
    whole = classify.DIGITS.load(None)
    return whole._replace(train=Split(*(x[:64] for x in whole.train)))


@pytest.fixture(scope="module")
def task(splits):
    return classify.DIGITS.task(splits, batch_size=8)


@pytest.fixture(scope="module")
def methods():
    return grid.methods(classify.DEMO, PROGRAM, steps=STEPS * EPOCHS)


def trials_of(methods, rates=RATES):
    return {name: {"learning_rate": jnp.asarray(rates)} for name in methods}


def trainer(task, methods, split):
    """Return a function from learning rates to the lanes after each epoch."""
    init = jax.jit(partial(loop.init_lanes, task, methods))
    epoch = jax.jit(partial(loop.epoch, task, methods))

    def run(rates=RATES):
        trials = trials_of(methods, rates)
        lanes, history = init(trials, SEEDS), []
        for number in range(EPOCHS):
            lanes = epoch(lanes, split, trials, SEEDS, number)
            history.append(lanes)
        return history

    return run


@pytest.fixture(scope="module")
def lanes(task, methods, splits):
    return trainer(task, methods, splits.train)()[-1]


def alone(start, batches, loss):
    """Make a task of one player from a loss (own, batch, key) -> scalar."""

    def measured(params, stats, data, batch, key):
        value = loss(params["network"], batch, key)
        return value, (stats, {"loss": value})

    return Task(
        init=lambda key: ({"network": start}, ()),
        batches=batches,
        players={"network": measured},
        evaluate=lambda params, stats, data: {},
        measures=("loss",),
    )


def python_loop(task, method, rate, split, seed):
    """One run of one player, a step at a time: no scan, no vmap."""
    optimizer = method.make({"learning_rate": rate})
    ((player, loss_of),) = task.players.items()
    params, stats = task.init(init_key(seed))
    params = method.start(params[player])
    state = optimizer.init(params)

    def own_loss(own, *others):
        return loss_of({player: own}, *others)

    value_and_grad = jax.jit(jax.value_and_grad(own_loss, has_aux=True))
    update = jax.jit(optimizer.update)
    for epoch in range(EPOCHS):
        losses = []
        for batch in task.batches(order_key(seed), epoch):
            key = step_key(seed, epoch * STEPS + len(losses))
            at = method.gradient_at(params)
            (loss, (stats, _)), grads = value_and_grad(at, stats, split, batch, key)
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            losses.append(loss)
    return {player: method.evaluated(params, state)}, stats, np.mean(losses)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_lane_equals_single_run(name, task, methods, splits, lanes):
    method, seed, trial = methods[name], 1, 1
    params, _, loss = python_loop(task, method, RATES[trial], splits.train, seed)
    lane = jax.tree.map(lambda x: x[seed, trial], lanes[name])
    # float32: batched matmuls sum in another order, an error of some 1e-7 a step
    # that 24 steps of a smooth loss grow by less than a factor of 100.
    np.testing.assert_allclose(lane.measures["loss"], loss, rtol=1e-5)
    for ours, single in zip(
        jax.tree.leaves(
            method.evaluated(lane.params["network"], lane.opt_state["network"])
        ),
        jax.tree.leaves(params),
        strict=True,
    ):
        np.testing.assert_allclose(ours, single, rtol=0, atol=1e-5)


def test_optimizers_differ(lanes):
    losses = {name: float(lane.measures["loss"][0, 1]) for name, lane in lanes.items()}
    assert losses.pop("weight average") == losses["sgd"]  # only evaluated elsewhere
    assert len(set(losses.values())) == len(losses)


def test_same_seed_same_initialisation(task, methods):
    methods = {name: methods[name] for name in classify.DEMO.optimizers}
    init = jax.jit(partial(loop.init_lanes, task, methods))
    lanes = init(trials_of(methods), SEEDS)
    expected = [task.init(init_key(seed))[0] for seed in SEEDS]
    for lane in lanes.values():
        for seed, rate in np.ndindex(2, 2):
            # float32: alone and vmapped XLA fuses an initialiser differently.
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=1e-6),
                jax.tree.map(lambda x, i=(seed, rate): x[i], lane.params),
                expected[seed],
            )
            jax.tree.map(
                np.testing.assert_array_equal,
                jax.tree.map(lambda x, i=(seed, rate): x[i], lane.params),
                jax.tree.map(lambda x, i=seed: x[i, 0], lanes["sgd"].params),
            )
    kernels = jax.tree.leaves(expected[0])[1], jax.tree.leaves(expected[1])[1]
    assert not np.array_equal(*kernels)


def test_same_seed_same_data_order(methods):
    """A loss that is a hash of the batches it was given, whatever the parameters."""
    weights = jnp.linspace(1.0, 2.0, 80).reshape(10, 8)
    real = classifying.classify(
        lambda rngs: models.SmallConvNet((8, 8, 1), (2, 2), 10, rngs=rngs),
        lambda images: images,
        lambda images, key: images,
        examples=80,
        batch_size=8,
    )
    spy = alone(
        jnp.zeros(()),
        lambda key, epoch: (real.batches(key, epoch), weights),
        lambda own, batch, key: jnp.sum(batch[0] * batch[1]) + 0 * own,
    )
    # Not sam, which divides by the norm of this loss's gradient, 0.
    methods = {name: method for name, method in methods.items() if name != "sam"}
    history = trainer(spy, methods, None)()
    for lanes in history:
        expected = np.asarray(lanes["sgd"].measures["loss"])
        np.testing.assert_array_equal(expected[:, 0], expected[:, 1])
        assert expected[0, 0] != expected[1, 0]
        for lane in lanes.values():
            np.testing.assert_array_equal(lane.measures["loss"], expected)
    assert not np.array_equal(*(lanes["sgd"].measures["loss"] for lanes in history[:2]))


def test_an_epoch_shows_every_image_once(task):
    epoch = task.batches(order_key(3), 5)
    np.testing.assert_array_equal(np.sort(epoch, axis=None), np.arange(64))


def test_diverged_lane_leaves_the_others_alone(task, methods, splits):
    run = trainer(task, {"sgd": methods["sgd"]}, splits.train)
    calm = run((0.01, 0.02))[-1]["sgd"]
    first, *_, wild = (lanes["sgd"] for lanes in run((0.01, 1e30)))
    np.testing.assert_array_equal(first.diverged, [[False, True]] * 2)
    np.testing.assert_array_equal(calm.diverged, [[False, False]] * 2)
    np.testing.assert_array_equal(wild.diverged, [[False, True]] * 2)
    for ours, alone in zip(
        jax.tree.leaves(wild.params), jax.tree.leaves(calm.params), strict=True
    ):
        np.testing.assert_array_equal(ours[:, 0], alone[:, 0])
    scores = loop.evaluator(task)(wild.params, wild.stats, splits.validation)
    np.testing.assert_array_equal(scores["accuracy"][:, 1], 0)


@pytest.mark.slow
def test_lanes_in_parts_equal_lanes_together(task, methods, splits, lanes):
    """As when not all fit into the memory: one trial after the other."""
    few = {"trsgd": methods["trsgd"], "lookahead": methods["lookahead"]}
    trials = trials_of(few)
    parts = jax.jit(partial(loop.init_lanes, task, few))(trials, SEEDS)
    epoch = jax.jit(partial(loop.epoch, task, few, at_once=1))
    for number in range(EPOCHS):
        parts = epoch(parts, splits.train, trials, SEEDS, number)
    for name, lane in parts.items():
        # float32: as in test_lane_equals_single_run
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
            jax.tree.leaves(lane.params),
            jax.tree.leaves(lanes[name].params),
        )


def test_noise_is_the_same_in_all_lanes_of_a_seed_and_new_in_every_step():
    """SGD at rate 1 on a loss without gradient walks along the noise."""
    flat = alone(
        {"a": jnp.zeros(3), "b": jnp.zeros(2)},
        lambda key, epoch: jnp.zeros(STEPS),
        lambda own, batch, key: 0.0 * sum(x.sum() for x in own.values()),
    )
    sgd = {"sgd": Method(lambda trial: optax.sgd(trial["learning_rate"]))}
    noise = Noise("gaussian", 0.5)
    epoch = partial(loop.epoch, flat, sgd, perturb=perturb(noise))
    trials = trials_of(sgd, (1.0, 2.0))
    lanes = epoch(
        loop.init_lanes(flat, sgd, trials, SEEDS), None, trials, SEEDS, jnp.int32(1)
    )
    for seed in range(2):
        steps = range(STEPS, 2 * STEPS)
        keys = [jax.random.fold_in(step_key(seed, step), 1) for step in steps]
        zeros = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
        draws = [perturb(noise)(zeros, key) for key in keys]
        for leaf in ("a", "b"):
            walk = -np.sum([np.asarray(draw[leaf]) for draw in draws], axis=0)
            for rate in (1, 2):
                # float32: 8 terms of order 1
                end = lanes["sgd"].params["network"][leaf][seed, rate - 1]
                np.testing.assert_allclose(end, rate * walk, rtol=1e-5)
    assert not np.array_equal(*lanes["sgd"].params["network"]["a"][:, 0])
