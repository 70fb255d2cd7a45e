"""The benchmark harness: lanes equal single runs, and the choices are honest."""

from dataclasses import fields
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import prox_optax
from benchmarks import data, experiments, models, tasks, train
from benchmarks.optimizers import OPTIMIZERS, Settings

RATES = (0.01, 0.05)
SEEDS = jnp.arange(2)
EPOCHS, STEPS = 3, 8
WRAPPED = ("lookahead", "weight average", "schedule-free", "sam")  # not plain params
NAMES = (*experiments.DEMO.optimizers, *WRAPPED)
PROGRAM = experiments.Program(8, NAMES)


@pytest.fixture(scope="module")
def splits() -> data.DataSet:
    """Digits with a train split of 64: 8 steps an epoch, 24 a run (3 periods)."""
    whole = experiments.data_set(experiments.DEMO, None)
    return whole._replace(train=data.Split(*(x[:64] for x in whole.train)))


@pytest.fixture(scope="module")
def task(splits):
    return experiments.task(experiments.DEMO, splits, batch_size=8)


@pytest.fixture(scope="module")
def methods():
    return experiments.methods(experiments.DEMO, PROGRAM, steps=STEPS * EPOCHS)


def trials_of(methods, rates=RATES):
    return {name: {"learning_rate": jnp.asarray(rates)} for name in methods}


def trainer(task, methods, split):
    """A function from learning rates to the lanes after each epoch; compiles once."""
    init = jax.jit(partial(train.init_lanes, task, methods))
    epoch = jax.jit(train.make_epoch(task, methods))

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


def python_loop(task, method, rate, split, seed):
    """One run, a step at a time: no scan, no vmap."""
    optimizer = method.make({"learning_rate": rate})
    params, stats = task.init(train.init_key(seed))
    params = method.start(params)
    state = optimizer.init(params)
    value_and_grad = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    update = jax.jit(optimizer.update)
    for epoch in range(EPOCHS):
        losses = []
        for batch in task.batches(train.order_key(seed), epoch):
            key = train.step_key(seed, epoch * STEPS + len(losses))
            at = method.gradient_at(params)
            (loss, stats), grads = value_and_grad(at, stats, split, batch, key)
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            losses.append(loss)
    return method.evaluated(params, state), stats, np.mean(losses)


@pytest.mark.parametrize("name", NAMES)
def test_lane_equals_single_run(name, task, methods, splits, lanes):
    method, seed, trial = methods[name], 1, 1
    params, _, loss = python_loop(task, method, RATES[trial], splits.train, seed)
    lane = jax.tree.map(lambda x: x[seed, trial], lanes[name])
    # float32: batched matmuls sum in another order, an error of some 1e-7 a step
    # that 24 steps of a smooth loss grow by less than a factor of 100.
    np.testing.assert_allclose(lane.loss, loss, rtol=1e-5)
    for ours, single in zip(
        jax.tree.leaves(method.evaluated(lane.params, lane.opt_state)),
        jax.tree.leaves(params),
        strict=True,
    ):
        np.testing.assert_allclose(ours, single, rtol=0, atol=1e-5)


def test_optimizers_differ(lanes):
    losses = {name: float(lane.loss[0, 1]) for name, lane in lanes.items()}
    assert losses.pop("weight average") == losses["sgd"]  # only evaluated elsewhere
    assert len(set(losses.values())) == len(losses)


def steps(optimizer, w, gradients):
    """Parameters after each gradient."""
    state, path = optimizer.init(w), []
    for g in gradients:
        updates, state = optimizer.update(g, state, w)
        w = optax.apply_updates(w, updates)
        path.append(w)
    return np.asarray(path)


def test_controls_are_what_they_are_called():
    settings = Settings(momentum=0.9, weight_decay=0.01, period=10)
    gradients = jax.random.normal(jax.random.key(0), (25, 3))
    start = jnp.ones(3)

    def path(name, rate=0.05):
        decay = optax.constant_schedule(1.0)
        optimizer = OPTIMIZERS[name].make({"learning_rate": rate}, decay, settings, 8)
        return steps(optimizer, start, gradients)

    w, b, expected = np.ones(3), np.zeros(3), []
    for g in np.asarray(gradients, np.float64):
        b = 0.9 * b + g + 0.01 * w
        w = w - 0.05 * b
        expected.append(w)
    without_pull = prox_optax.trsgd(
        0.05, 0.9, lambda_w=0.0, period=10, weight_decay=0.01
    )
    # float32: 25 steps of order 1, each rounded to 6e-8.
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
    close(path("sgd"), expected)
    close(path("sgd at 0.293 x", rate=0.05 / 0.293), expected)
    close(path("sgd at 0.212 x", rate=0.05 / 0.212), expected)
    close(path("inner decay alone"), steps(without_pull, start, gradients))
    # Accumulation: its 24 / 4 updates are SGD's on the means of 4 gradients.
    means = gradients[:24].reshape(6, 4, 3).mean(axis=1)
    plain = OPTIMIZERS["sgd"].make(
        {"learning_rate": 0.05}, optax.constant_schedule(1.0), settings, 8
    )
    close(path("accumulation")[3:24:4], steps(plain, start, means))
    # The pull without inner decay is trsgd's at the first two steps, times its decay.
    close(path("anchor alone")[0], path("trsgd")[0])
    assert np.abs(path("trsgd") - path("inner decay alone")).max() > 1e-3
    assert np.abs(path("trsgdw") - path("inner decay alone")).max() > 1e-3


def test_same_seed_same_initialisation(task, methods):
    methods = {name: methods[name] for name in experiments.DEMO.optimizers}
    init = jax.jit(partial(train.init_lanes, task, methods))
    lanes = init(trials_of(methods), SEEDS)
    expected = [task.init(train.init_key(seed))[0] for seed in SEEDS]
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
    real = tasks.classify(
        lambda rngs: models.SmallConvNet((8, 8, 1), (2, 2), 10, rngs=rngs),
        lambda images: images,
        lambda images, key: images,
        examples=80,
        batch_size=8,
    )
    spy = tasks.Task(
        init=lambda key: (jnp.zeros(()), ()),
        batches=lambda key, epoch: (real.batches(key, epoch), weights),
        loss=lambda params, stats, data, batch, key: (
            jnp.sum(batch[0] * batch[1]) + 0 * params,
            stats,
        ),
        evaluate=lambda params, stats, data: {},
    )
    # Not sam, which divides by the norm of this loss's gradient, 0.
    methods = {name: method for name, method in methods.items() if name != "sam"}
    history = trainer(spy, methods, None)()
    for lanes in history:
        expected = np.asarray(lanes["sgd"].loss)
        np.testing.assert_array_equal(expected[:, 0], expected[:, 1])
        assert expected[0, 0] != expected[1, 0]
        for lane in lanes.values():
            np.testing.assert_array_equal(lane.loss, expected)
    assert not np.array_equal(history[0]["sgd"].loss, history[1]["sgd"].loss)


def test_an_epoch_shows_every_image_once(task):
    epoch = task.batches(train.order_key(3), 5)
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
    scores = train.make_evaluate(task)(wild.params, wild.stats, splits.validation)
    np.testing.assert_array_equal(scores["accuracy"][:, 1], 0)


def test_non_finite_logits_count_as_wrong():
    logits = jnp.asarray([[2.0, 1], [jnp.nan, 1], [jnp.inf, 1], [0, 1]])
    assert tasks.accuracy(logits, jnp.asarray([0, 0, 0, 0])) == 0.25


def test_patches_and_matmul_are_a_convolution():
    images = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    for stride in (1, 2):
        ours = models.patches3x3(images, stride) @ kernel.reshape(27, 4)
        oracle = jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        # float32: 27 products of order 1, summed in another order.
        np.testing.assert_allclose(ours, oracle, rtol=1e-5, atol=1e-5)


def test_decays_are_those_published():
    decay = experiments.decay_schedule(experiments.DEMO.decays, steps=100)
    factors = [float(decay(step)) for step in (0, 49, 50, 74, 75, 99)]
    np.testing.assert_allclose(factors, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_tiny_differs_in_size_only():
    tiny = experiments.tiny(experiments.DEMO)
    sizes = {"name", "learning_rates", "seeds", "epochs", "save_every"}
    changed = {
        field.name
        for field in fields(tiny)
        if getattr(tiny, field.name) != getattr(experiments.DEMO, field.name)
    }
    assert changed == sizes
    assert set(tiny.learning_rates) < set(experiments.DEMO.learning_rates)


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS.values())
def test_everyone_makes_as_many_trials(experiment):
    assert set(experiment.optimizers) <= set(OPTIMIZERS)
    for name in experiment.optimizers:
        numbers = experiments.trials(experiment, name)
        assert {len(x) for x in numbers.values()} == {len(experiment.learning_rates)}
        rows = list(zip(*numbers.values(), strict=True))
        assert len(set(rows)) == len(rows)


def test_programs_cover_every_optimizer_and_batch_size_once():
    experiment = experiments.SENSITIVITY_DIGITS
    pairs = [
        (program.batch_size, name)
        for program in experiments.programs(experiment)
        for name in program.optimizers
    ]
    assert len(set(pairs)) == len(pairs) == 6 * 22
    (demo,) = experiments.programs(experiments.DEMO)
    assert demo.optimizers == experiments.DEMO.optimizers


def test_the_published_experiment_augments_and_normalises_in_training_only():
    """A residual network on noise of CIFAR's shape: a step, without an archive."""
    experiment = experiments.tiny(experiments.PAPER_CIFAR10)
    images = jax.random.randint(jax.random.key(0), (16, 32, 32, 3), 0, 256, jnp.uint8)
    split = data.Split(images, jnp.arange(16) % 10)
    ones = jnp.ones(3)
    noise = data.DataSet(split, split, split, 10, 128 * ones, 64 * ones, "noise")
    task = experiments.task(experiment, noise, batch_size=8)
    params, stats = task.init(jax.random.key(1))
    loss = jax.jit(task.loss)
    losses = [
        float(loss(params, stats, split, jnp.arange(8), jax.random.key(k))[0])
        for k in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert np.isfinite(losses).all()


def test_published_numbers():
    """The learning rates, batch and epochs of the reference implementation."""
    experiment = experiments.PAPER_CIFAR10
    rates = {
        name: experiments.trials(experiment, name)["learning_rate"]
        for name in experiment.optimizers
    }
    assert rates == {"sgd": (0.1,), "trsgd": (0.1,), "adam": (1e-3,), "tradam": (1e-3,)}
    assert (experiment.batch_sizes, experiment.epochs, experiment.seeds) == (
        (8,),
        200,
        5,
    )
    assert experiments.total_steps(experiment, 45_000, 8) == 1_125_000
