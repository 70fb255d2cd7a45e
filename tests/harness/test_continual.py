"""Tasks in series: what methods keep of the old ones, by equations written out."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from data_files import random_images, write_tar
from flax import nnx

import prox_optax
from benchmarks import experiments
from benchmarks.data import cifar10
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments.continual import CONTINUAL_CIFAR10, CONTINUAL_DIGITS
from benchmarks.models import resnet
from benchmarks.optimizers import OPTIMIZERS, memory
from benchmarks.optimizers.continual import PLAIN
from benchmarks.optimizers.method import Lesson, Method, Settings, Setup
from benchmarks.report import fronts, tables
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare
from benchmarks.tasks.continual import Continual
from benchmarks.training import loop
from benchmarks.training.keys import between_key, order_key
from benchmarks.training.task import Series, Task

BATCH, TASKS, SEEDS = 8, 3, np.array([0, 7])
SETTINGS = Settings(momentum=0.9, weight_decay=0.0, period=2, b2=0.9)
PROBLEM = Continual(
    data="drawn",
    train=None,
    validation=20,
    test=20,
    split_seed=0,
    hidden=5,
    differ="pixels",
    tasks=TASKS,
    epochs_each=1,
)
RATE, STRENGTH = 0.05, 3.0


def drawn(size, seed):
    images = np.random.default_rng(seed).integers(16, size=(size, 2, 3, 1))
    return Split(jnp.asarray(images, jnp.uint8), jnp.arange(size) % 6)


@pytest.fixture(scope="module")
def data_set():
    splits = drawn(48, 0), drawn(24, 1), drawn(24, 2)
    return ImageSet(*splits, 6, jnp.zeros(1), jnp.full(1, 16.0), "drawn")


@pytest.fixture(scope="module")
def task(data_set):
    """Return the tasks; all seeds start from the same network, which compiles fast."""
    found = PROBLEM.task(data_set, BATCH)
    (params, orders) = found.init(jax.random.key(0))
    return found._replace(init=lambda key: (params, orders))


def trained(task, data_set, names, numbers, epochs=TASKS):
    """Return the lanes after each epoch, one trial with these numbers."""
    methods = {x: OPTIMIZERS[x].bind(lambda t: 1.0, SETTINGS, BATCH) for x in names}
    arrays = {key: jnp.full(1, value) for key, value in numbers.items()}
    trials, seeds = dict.fromkeys(names, arrays), jnp.asarray(SEEDS)
    lanes = jax.jit(partial(loop.init_lanes, task, methods))(trials, seeds)
    train = jax.jit(partial(loop.epoch, task, methods))
    history = []
    for number in range(epochs):
        lanes = train(lanes, data_set.train, trials, seeds, number)
        history.append(lanes)
    return history


def lesson_of(inputs, key):
    """Return a lesson for methods that look at inputs and key alone."""
    nothing: Any = None
    return Lesson(nothing, inputs, nothing, nothing, key)


def params_of(lane, seed):
    return jax.tree.map(lambda x: x[seed, 0], lane.params["network"])


def logits(w, x):
    with jax.numpy_rank_promotion("allow"):
        hidden = jnp.maximum(x @ w["body"]["kernel"] + w["body"]["bias"], 0)
        return hidden @ w["head"]["kernel"] + w["head"]["bias"]


def surprise(w, x, label):
    return -jax.nn.log_softmax(logits(w, x))[label]


def mean_loss(w, x, labels):
    return jax.vmap(surprise, (None, 0, 0))(w, x, labels).mean()


def fisher_by_hand(w, x, key):
    """Return the mean of squared gradients, the labels drawn from the network."""
    total = jax.tree.map(jnp.zeros_like, w)
    for one, own in zip(x, jax.random.split(key, len(x)), strict=True):
        label = jax.random.categorical(own, logits(w, one))
        grads = jax.grad(surprise)(w, one, label)
        total = jax.tree.map(lambda t, g: t + g**2, total, grads)
    return jax.tree.map(lambda t: t / len(x), total)


def ewc_by_hand(task, data_set, seed, form, rate=RATE, strength=STRENGTH):
    """Momentum SGD with F (w - a)^2, a step at a time, in three tasks."""
    start, orders = task.init(None)
    w, mu = nnx.to_pure_dict(start["network"]), SETTINGS.momentum
    zero = jax.tree.map(jnp.zeros_like, w)
    f, a, pixels = zero, w, data_set.train.images.reshape(48, 6) / 16
    for epoch in range(TASKS):
        x, m, eta = pixels[:, orders[epoch]], zero, rate if epoch else PLAIN.first_rate
        for index, _ in zip(*task.batches(order_key(seed), epoch), strict=True):
            g = jax.grad(mean_loss)(w, x[index], data_set.train.labels[index])
            lam = jax.tree.map(lambda f: strength * f, f)
            if form == "coupled":
                pull = jax.tree.map(lambda s, w, a: 2 * s * (w - a), lam, w, a)
                g = jax.tree.map(jnp.add, g, pull)
            m = jax.tree.map(lambda m, g: mu * m + g, m, g)
            u = jax.tree.map(lambda m, eta=eta: -eta * m, m)
            if form == "decoupled":
                r = jax.tree.map(lambda s, eta=eta: 2 * eta * s, lam)
                u = jax.tree.map(
                    lambda u, r, w, a: (u - r * (w - a)) / (1 + r), u, r, w, a
                )
            w = jax.tree.map(jnp.add, w, u)
        new = fisher_by_hand(w, x, between_key(seed, epoch + 1))
        total = jax.tree.map(lambda f, n: jnp.maximum(f + n, 1e-30), f, new)
        a = jax.tree.map(
            lambda f, a, n, w, t: jnp.where(f + n > 0, (f * a + n * w) / t, w),
            *(f, a, new, w, total),
        )
        f = jax.tree.map(jnp.add, f, new)
    return w


@pytest.mark.slow
@pytest.mark.parametrize("form", ["coupled", "decoupled"])
def test_ewc_is_its_equations(form, task, data_set):
    """Both are sums in float32 in another order: 1e-4 of the largest parameter."""
    name = f"ewc, {form}"
    numbers = {"learning_rate": RATE, "strength": STRENGTH}
    lanes = trained(task, data_set, [name], numbers)[-1][name]
    for number, seed in enumerate(SEEDS):
        expected = ewc_by_hand(task, data_set, seed, form)
        found = nnx.to_pure_dict(params_of(lanes, number))
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), found, expected)
    plain = ewc_by_hand(task, data_set, SEEDS[0], form, strength=0.0)
    assert not np.allclose(plain["head"]["kernel"], expected["head"]["kernel"], 1e-2)


NUMBERS = {
    "learning_rate": RATE,
    "strength": STRENGTH,
    "merge": 0.25,
    "share": 0.4,
    "average_step": 0.5,
    "weight": 2.0,
}
ALL = (
    *("plain", "decay to 0", "l2-sp, decoupled", "ewc, coupled", "sfa"),
    *("average from the old", "wise-ft", "kl on new inputs", "replay of 10"),
)


@pytest.fixture(scope="module")
def two_tasks(task, data_set):
    return trained(task, data_set, ALL, NUMBERS, epochs=2)


def evaluated(lane, name, number=0):
    state = jax.tree.map(lambda x: x[number, 0], lane.opt_state["network"])
    reached = OPTIMIZERS[name].evaluated(params_of(lane, number), state)
    return nnx.to_pure_dict(reached)


def assert_equal(found, expected, atol):
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=0, atol=atol), found, expected
    )


@pytest.mark.slow
def test_the_first_task_is_the_same_for_all(two_tasks):
    """What a method adds is 0 there; XLA fuses, and so rounds, each in its own way."""
    first = two_tasks[0]
    expected = evaluated(first["plain"], "plain")
    for name in ALL:
        assert_equal(evaluated(first[name], name), expected, atol=1e-7)


def second_task_by_hand(task, data_set, old, after=lambda step, w: w, term=None):
    """Momentum SGD from `old`; `after` changes what a step reached."""
    _, orders = task.init(None)
    x = data_set.train.images.reshape(48, 6)[:, orders[1]] / 16
    w, m = old, jax.tree.map(jnp.zeros_like, old)
    for step, index in enumerate(task.batches(order_key(SEEDS[0]), 1)[0]):

        def loss(w, index=index):
            value = mean_loss(w, x[index], data_set.train.labels[index])
            return value + term(w, x[index]) if term else value

        g = jax.grad(loss)(w)
        m = jax.tree.map(lambda m, g: SETTINGS.momentum * m + g, m, g)
        w = after(step, jax.tree.map(lambda w, m: w - RATE * m, w, m))
    return w


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL[:3] + ALL[4:8])
def test_the_second_task_by_hand(name, two_tasks, task, data_set):
    """Sums in float32 in another order: 1e-5 of parameters of order 1."""
    first, second = two_tasks
    old = evaluated(first["plain"], "plain")

    def mixed(share, w, a):
        return jax.tree.map(lambda w, a: w + share * (a - w), w, a)

    part, r = NUMBERS["merge"], 2 * RATE * STRENGTH
    zeros = jax.tree.map(jnp.zeros_like, old)
    average, last = [old], [old]

    def follow(step, w):
        average[0] = mixed(NUMBERS["average_step"], average[0], last[0])
        last[0] = w
        return w

    def divergence(w, x):
        p, q = (jax.nn.log_softmax(logits(each, x)) for each in (old, w))
        return NUMBERS["weight"] * jnp.sum(jnp.exp(p) * (p - q), axis=-1).mean()

    by_hand = partial(second_task_by_hand, task, data_set, old)
    expected = {
        "plain": lambda: by_hand(),
        "decay to 0": lambda: by_hand(lambda _, w: mixed(r / (1 + r), w, zeros)),
        "l2-sp, decoupled": lambda: by_hand(lambda _, w: mixed(r / (1 + r), w, old)),
        "sfa": lambda: by_hand(lambda t, w: mixed(part, w, old) if t % 2 else w),
        "average from the old": lambda: (by_hand(follow), average[0])[1],
        "wise-ft": lambda: mixed(NUMBERS["share"], old, by_hand()),
        "kl on new inputs": lambda: by_hand(term=divergence),
    }[name]()
    assert_equal(evaluated(second[name], name), expected, atol=1e-5)


def test_the_fisher_information_from_adam():
    """The bias-corrected second moment of two steps, times the batch size."""
    row = OPTIMIZERS["adam, ewc from its moment, decoupled"]
    numbers = {key: jnp.float32(NUMBERS[key]) for key in ("learning_rate", "strength")}
    setup = Setup(numbers, lambda t: 1.0, SETTINGS, BATCH)
    lesson = lesson_of(jnp.zeros((3, 2)), jax.random.key(0))
    lesson = lesson._replace(labels=jnp.zeros(3, jnp.int32))
    params, first, second = (jnp.array(x) for x in ([1.0, 2.0], [3.0, 0.5], [1.0, 4.0]))
    optimizer: Any = row.make(setup)
    state = optimizer.init(params)
    for grads in (first, second):
        _, state = optimizer.update(grads, state, params, lesson=lesson)
    after = row.between(setup, lesson, state, params)
    moment = (0.9 * 0.1 * first**2 + 0.1 * second**2) / (1 - 0.9**2)
    np.testing.assert_allclose(after.fisher, BATCH * moment, rtol=1e-5)
    anchor = prox_optax.get_anchor(after.inner, params, "old")
    np.testing.assert_array_equal(anchor, params)
    # Adam begins the next task anew.
    with pytest.raises(ValueError, match="took no step"):
        prox_optax.fisher_from_adam(after.inner, batch_size=BATCH)


def test_examples_are_kept_and_recalled(task, data_set):
    """Of three tasks in the mean a third each; all places of one task differ."""
    _, orders = task.init(None)
    none = memory.Memory(jnp.int32(0), (), (), jnp.zeros((40, 2), jnp.int32), ())
    keep = jax.jit(
        lambda lesson_key, kept: memory.kept_after(
            lesson_of(data_set.train.labels, lesson_key), kept
        )
    )
    counts = np.zeros((20, 3))
    for seed in range(20):
        held = none
        for number in range(3):
            kept = keep(jax.random.fold_in(jax.random.key(seed), number), held)
            held = held._replace(finished=jnp.int32(number + 1), kept=kept)
            if number == 0:
                assert len(np.unique(kept[:, 1])) == 40
        counts[seed] = np.bincount(kept[:, 0], minlength=3)
    # a count has a variance of 40 * 2 / 9; four standard errors of 20 such
    np.testing.assert_allclose(counts.mean(axis=0), 40 / 3, atol=4 * np.sqrt(4 / 9))
    lesson = task.series.finished(orders, data_set.train, 2, jax.random.key(0))
    inputs, labels = lesson.recall(*kept.T)
    for (number, place), x, label in zip(kept, inputs, labels, strict=True):
        image = np.asarray(data_set.train.images[place]).ravel() / 16
        np.testing.assert_allclose(x, image[orders[number]], rtol=1e-6)
        assert label == data_set.train.labels[place]


def test_pixels_are_permuted_by_the_seed(data_set):
    found = PROBLEM.task(data_set, BATCH)
    (_, one), (_, other) = (found.init(jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(one[0], np.arange(6))
    assert (np.sort(one, axis=1) == np.arange(6)).all()
    assert not np.array_equal(one[1], one[2])
    assert not np.array_equal(one[1:], other[1:])


def test_all_tasks_are_evaluated(task, data_set):
    (params, orders), images = task.init(None), data_set.test.images
    w, labels = nnx.to_pure_dict(params["network"]), np.asarray(data_set.test.labels)
    found = task.evaluate(params, orders, data_set.test)
    right = []
    for number in range(TASKS):
        x = images.reshape(24, 6)[:, orders[number]] / 16
        right.append((np.asarray(logits(w, x)).argmax(axis=1) == labels).mean())
        loss = found[f"loss_{number + 1}"]
        np.testing.assert_allclose(loss, mean_loss(w, x, labels), rtol=1e-5)
        np.testing.assert_allclose(found[f"accuracy_{number + 1}"], right[-1])
    np.testing.assert_allclose(found["accuracy"], np.mean(right), rtol=1e-6)
    assert set(found) == set(PROBLEM.score.labels)


def test_tasks_that_differ_by_classes(data_set):
    problem = replace(PROBLEM, differ="classes")
    task = problem.task(data_set, BATCH)
    assert problem.examples(data_set) == 16
    seen = [task.batches(order_key(0), epoch)[0].ravel() for epoch in range(TASKS)]
    for number, index in enumerate(seen):
        assert len(np.unique(index)) == 16
        assert {*np.asarray(data_set.train.labels[index]) // 2} == {number}
    params, orders = task.init(jax.random.key(0))
    labels = np.asarray(data_set.test.labels)
    logit = logits(
        nnx.to_pure_dict(params["network"]), data_set.test.images.reshape(24, 6) / 16
    )
    right = np.asarray(logit).argmax(axis=1) == labels
    found = task.evaluate(params, orders, data_set.test)
    for number in range(TASKS):
        expected = right[labels // 2 == number].mean()
        np.testing.assert_allclose(found[f"accuracy_{number + 1}"], expected)


RESIDUAL = replace(PROBLEM, kind="resnet18", hidden=4, differ="classes")


def photos(size, seed):
    images = np.random.default_rng(seed).integers(256, size=(size, 8, 8, 3))
    return Split(jnp.asarray(images, jnp.uint8), jnp.arange(size) % 6)


@pytest.fixture(scope="module")
def photo_set():
    splits = photos(48, 0), photos(24, 1), photos(24, 2)
    return ImageSet(*splits, 6, jnp.full(3, 99.0), jnp.full(3, 70.0), "drawn")


@pytest.fixture
def one_block(monkeypatch):
    """Let residual networks have one block, which compiles fast."""
    monkeypatch.setattr(resnet, "STAGES", ((1, 1),))
    monkeypatch.setattr(resnet, "BLOCKS", 1)


@pytest.mark.usefixtures("one_block")
def test_a_residual_network_sees_images(photo_set):
    """It is asked for all at once; float32 rounds elsewhere."""
    task, (images, labels) = RESIDUAL.task(photo_set, BATCH), photo_set.test
    graph = nnx.graphdef(nnx.eval_shape(lambda: RESIDUAL.network((8, 8, 3), 6, 0)))

    @jax.jit
    def both(images):
        params, stats = task.init(jax.random.key(0))
        found = task.evaluate(params, stats, Split(images, labels))
        network = nnx.merge(graph, params["network"])
        return found, network((images - 99.0) / 70.0)

    found, logits = both(images)
    own = np.asarray(labels) // 2
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    for number in range(TASKS):
        expected = losses[own == number].mean()
        np.testing.assert_allclose(found[f"loss_{number + 1}"], expected, rtol=1e-4)


@pytest.mark.usefixtures("one_block")
def test_a_residual_network_sees_pixels_in_another_order(photo_set):
    problem = replace(RESIDUAL, differ="pixels")
    task = problem.task(photo_set, BATCH)
    assert task.series is not None
    orders = jax.jit(lambda: task.init(jax.random.key(0))[1])()
    lesson = task.series.finished(orders, photo_set.train, 2, jax.random.key(0))
    recalled, _ = lesson.recall(jnp.array([1, 0]), jnp.array([5, 7]))
    flat = (np.asarray(photo_set.train.images).reshape(48, -1) - 99.0) / 70.0
    assert lesson.inputs.shape == (48, 8, 8, 3)
    seen = np.asarray(lesson.inputs).reshape(48, -1)
    expected = flat[:, np.asarray(orders[1])]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    assert recalled.shape == (2, 8, 8, 3)
    both = expected[5], flat[7]
    np.testing.assert_allclose(np.asarray(recalled).reshape(2, -1), both, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("one_block")
def test_a_tiny_run_on_photos(tmp_path, monkeypatch):
    rng, spec = np.random.default_rng(0), cifar10.SPEC
    parts = (random_images(rng, spec, size) for size in (500, 200))
    archive = write_tar(tmp_path, *parts)
    monkeypatch.setattr(cifar10, "SPEC", spec._replace(train=500, test=200))
    methods = ("plain", "ewc, coupled")
    small = replace(
        experiments.tiny(CONTINUAL_CIFAR10),
        groups=(("", methods),),
        contrasts=(("ewc, coupled", "plain"),),
        primary=(),
    )
    out = tmp_path / "out"
    assert execute(prepare(small, "a test", out, resume=False, data_dir=archive))
    rows = pd.read_csv(out / "metrics.csv")
    assert {*rows.optimizer} == {*methods}
    chosen = rows[(rows.epoch == 2) & (rows.seed == 1)]
    assert chosen.test_accuracy.between(0, 1).all()
    text = tables.report(out, "a test")
    assert "network: resnet18, GroupNorm, channels 8, bfloat16." in text


class Counted(NamedTuple):
    """How often a task was handed over, and the sum of its inputs each time."""

    times: jax.Array
    sums: jax.Array


def counting(setup, lesson, state, params):
    sums = state.sums.at[state.times].set(lesson.inputs.sum() + params["w"])
    return Counted(state.times + 1, sums)


def counter(setup):
    """Add 1 to the parameter in each step."""
    return optax.GradientTransformation(
        lambda params: Counted(jnp.int32(0), jnp.zeros(5)),
        lambda grads, state, params=None: (jax.tree.map(jnp.ones_like, grads), state),
    )


@pytest.mark.parametrize("part", [1, 2, 4])
def test_a_task_is_handed_over_once(part):
    """Two epochs of 4 steps a task, in parts; data of the task are its number."""

    def finished(stats, data, epoch, key):
        return lesson_of(jnp.full(3, 100.0 * (epoch // 2)), key)

    series = Series(
        begins=lambda epoch: jnp.asarray((epoch % 2 == 0) & (epoch > 0)),
        finished=finished,
        batch=lambda stats, data, batch, key: lesson_of(batch, key),
    )
    task = Task(
        init=lambda key: ({"network": {"w": jnp.float32(0)}}, ()),
        batches=lambda key, epoch: jnp.arange(4),
        players={"network": lambda p, stats, *_: (p["network"]["w"], (stats, {}))},
        evaluate=lambda params, stats, data: {},
        series=series,
    )
    bound = Method(counter, between=counting).bind(lambda t: 1.0, SETTINGS, 1)
    trials, seeds = {"count": {"learning_rate": jnp.zeros(2)}}, jnp.arange(3)
    train = jax.jit(partial(loop.epoch, task, {"count": bound}, part=part))
    lanes = loop.init_lanes(task, {"count": bound}, trials, seeds)
    for epoch in range(6):
        for first in range(0, 4, part):
            lanes = train(lanes, (), trials, seeds, epoch, first)
    state = lanes["count"].opt_state["network"]
    np.testing.assert_array_equal(state.times, np.full((3, 2), 2))
    steps = [300.0 + 8, 600.0 + 16, 0, 0, 0]  # 3 inputs each, 8 steps a task
    np.testing.assert_array_equal(state.sums, np.broadcast_to(steps, (3, 2, 5)))


class Stopping(Deadline):
    """Stop before a part, after so many."""

    def __init__(self, parts):
        super().__init__()
        self.left = parts

    def allows(self, *kinds):
        self.left -= "compile" not in kinds
        return self.left >= 0


@pytest.mark.slow
def test_the_tested_seeds_make_the_trials_that_the_others_choose(tmp_path, monkeypatch):
    """Their rows are those of a run in which they make all trials.

    But for roundings: a core trains more of them at once. 66 steps enlarge these.
    """
    four = replace(
        experiments.tiny(CONTINUAL_DIGITS),
        groups=(("", ("ewc, decoupled",)),),
        contrasts=(),
        primary=(),
        learning_rates=(1e-5, 0.01, 0.03, 0.1),
        seeds=3,
    )

    def rows(name):
        run = prepare(four, "a test", tmp_path / name, resume=False)
        assert execute(run)
        assert "ewc, decoupled" in tables.report(tmp_path / name, "a test")
        return pd.read_csv(tmp_path / name / "metrics.csv")

    some = rows("some")
    monkeypatch.setattr(fronts, "shown_trials", lambda *_: (0, 1, 2, 3))
    every = rows("every")
    keys = ["optimizer", "trial", "seed", "epoch"]
    both = every.merge(some[keys], on=keys).reset_index(drop=True)
    pd.testing.assert_frame_equal(both, some, rtol=0, atol=1e-4)
    made = some.groupby("seed").trial.nunique()
    assert made[0] == 4
    assert made[1] == made[2] < 4


@pytest.mark.slow
@pytest.mark.parametrize("parts", [33, 100])
def test_a_run_that_goes_on_at_the_boundary(parts, tmp_path):
    """An epoch has 33 parts: it stops before the second task's first.

    After 100 it stops in the second stage, after that task's first.
    """
    tiny = experiments.tiny(CONTINUAL_DIGITS)
    one = replace(
        tiny,
        groups=(("", ("ewc, decoupled",)),),
        contrasts=(),
        primary=(),
        part=1,
        learning_rates=(1e-5, 0.01, 0.03),
    )

    def rows(folder, *stops):
        for number, deadline in enumerate((*stops, Deadline())):
            run = prepare(one, "a test", folder, resume=number > 0)
            finished = execute(run, deadline)
        assert finished
        return (folder / "metrics.csv").read_text()

    stopped = rows(tmp_path / "stopped", Stopping(parts))
    assert stopped == rows(tmp_path / "straight")
