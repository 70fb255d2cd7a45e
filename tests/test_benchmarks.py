"""The benchmark harness: lanes equal single runs, and the choices are honest."""

import json
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from typer.testing import CliRunner

import prox_optax
from benchmarks import data, experiments, models, results, tasks, train
from benchmarks.__main__ import app
from benchmarks.optimizers import OPTIMIZERS, Settings

RATES = jnp.asarray([0.01, 0.05])
SEEDS = jnp.arange(2)
EPOCHS, STEPS = 3, 8
FILES = {"metrics.csv", "meta.json", "table.md", "accuracy.png", "accuracy.svg"}


@pytest.fixture(scope="module")
def splits() -> data.DataSet:
    """Digits with a train split of 64: 8 steps an epoch, 24 a run (3 periods)."""
    whole = experiments.data_set(experiments.DEMO)
    return whole._replace(train=data.Split(*(x[:64] for x in whole.train)))


@pytest.fixture(scope="module")
def task(splits):
    return experiments.task(experiments.DEMO, splits)


@pytest.fixture(scope="module")
def optimizers():
    return experiments.optimizers(experiments.DEMO, steps=STEPS * EPOCHS)


def trainer(task, optimizers, split):
    """A function from learning rates to the lanes after each epoch; compiles once."""
    init = jax.jit(partial(train.init_lanes, task, optimizers))
    epoch = jax.jit(train.make_epoch(task, optimizers))

    def run(rates, seeds=SEEDS):
        lanes, history = init(rates, seeds), []
        for number in range(EPOCHS):
            lanes = epoch(lanes, split, rates, seeds, number)
            history.append(lanes)
        return history

    return run


@pytest.fixture(scope="module")
def lanes(task, optimizers, splits):
    return trainer(task, optimizers, splits.train)(RATES)[-1]


def python_loop(task, optimizer, split, seed):
    """One run, a step at a time: no scan, no vmap."""
    params, stats = task.init(train.init_key(seed))
    state = optimizer.init(params)
    value_and_grad = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    update = jax.jit(optimizer.update)
    for epoch in range(EPOCHS):
        losses = []
        for batch in task.batches(train.order_key(seed), epoch):
            key = train.step_key(seed, epoch * STEPS + len(losses))
            (loss, stats), grads = value_and_grad(params, stats, split, batch, key)
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            losses.append(loss)
    return params, stats, np.mean(losses)


@pytest.mark.parametrize("name", experiments.DEMO.optimizers)
def test_lane_equals_single_run(name, task, optimizers, splits, lanes):
    seed, rate = 1, 1
    optimizer = optimizers[name](RATES[rate])
    params, _, loss = python_loop(task, optimizer, splits.train, seed)
    lane = jax.tree.map(lambda x: x[seed, rate], lanes[name])
    # float32: batched matmuls sum in another order, an error of some 1e-7 a step
    # that 24 steps of a smooth loss grow by less than a factor of 100.
    np.testing.assert_allclose(lane.loss, loss, rtol=1e-5)
    for ours, single in zip(
        jax.tree.leaves(lane.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(ours, single, rtol=0, atol=1e-5)


def test_optimizers_differ(lanes):
    losses = [float(lanes[name].loss[0, 1]) for name in experiments.DEMO.optimizers]
    assert len(set(losses)) == len(losses)


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
        schedule = optax.constant_schedule(rate)
        return steps(OPTIMIZERS[name](schedule, settings), start, gradients)

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
    close(path("inner decay alone"), steps(without_pull, start, gradients))
    assert np.abs(path("trsgd") - path("inner decay alone")).max() > 1e-3
    assert np.abs(path("trsgdw") - path("inner decay alone")).max() > 1e-3


def test_same_seed_same_initialisation(task, optimizers):
    lanes = jax.jit(partial(train.init_lanes, task, optimizers))(RATES, SEEDS)
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


def test_same_seed_same_data_order(optimizers):
    """A loss that is a hash of the batches it was given, whatever the parameters."""
    weights = jnp.linspace(1.0, 2.0, 80).reshape(10, 8)
    real = tasks.classify(
        lambda rngs: models.SmallConvNet((8, 8, 1), (2, 2), 10, rngs=rngs),
        lambda images: images,
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
    history = trainer(spy, optimizers, None)(RATES)
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


def test_diverged_lane_leaves_the_others_alone(task, optimizers, splits):
    run = trainer(task, {"sgd": optimizers["sgd"]}, splits.train)
    calm = run(jnp.asarray([0.01, 0.02]))[-1]["sgd"]
    first, *_, wild = (lanes["sgd"] for lanes in run(jnp.asarray([0.01, 1e30])))
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
    sizes = {"name", "learning_rates", "seeds", "epochs"}
    changed = {
        field.name
        for field in fields(tiny)
        if getattr(tiny, field.name) != getattr(experiments.DEMO, field.name)
    }
    assert changed == sizes
    assert set(tiny.learning_rates) < set(experiments.DEMO.learning_rates)


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_run_then_report(tmp_path):
    ran = invoke("run", "demo", "--tiny", "--out", tmp_path)
    assert ran.exit_code == 0, ran.output
    assert {path.name for path in tmp_path.iterdir()} == FILES
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert tuple(metrics.columns) == results.COLUMNS
    assert len(metrics) == 5 * 2 * 2
    for _, runs in metrics.groupby("optimizer"):
        tested = runs[runs.test_accuracy.notna()]
        assert tested.learning_rate.nunique() == 1
        assert len(tested) == 2
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert meta["command"] == "python -m benchmarks run demo --tiny"
    assert meta["data_source"] == "scikit-learn's digits"
    assert str(tmp_path) not in json.dumps(meta)

    drawn = {name: (tmp_path / name).read_bytes() for name in FILES}
    for name in ("table.md", "accuracy.png", "accuracy.svg"):
        (tmp_path / name).unlink()
    reported = invoke("report", "demo", "--out", tmp_path)
    assert reported.exit_code == 0, reported.output
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == drawn
    assert drawn["table.md"].decode() in reported.output
    assert drawn["table.md"].decode() in ran.output


def test_report_without_results_names_the_command(tmp_path):
    reported = invoke("report", "demo", "--out", tmp_path / "none")
    assert reported.exit_code == 1
    assert "python -m benchmarks run demo" in reported.output


def test_list_and_unknown_names():
    assert "demo: " in invoke("list").output
    unknown = invoke("run", "dmeo")
    assert unknown.exit_code == 2
    assert "there is: demo" in unknown.output


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.md"
    results.write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        results.write(path, half)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_experiment_is_another_set_of_numbers():
    other = replace(experiments.DEMO, optimizers=("trsgd",), learning_rates=(0.1,))
    assert other.lanes == other.seeds
    assert set(experiments.optimizers(other, steps=10)) == {"trsgd"}
