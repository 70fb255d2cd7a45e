"""Fine-tuning a pretrained network: what is read, shown, remembered, adapted."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from scipy.special import log_softmax

from benchmarks import experiments
from benchmarks.experiments import classify
from benchmarks.experiments.continual import CONTINUAL_DIGITS_5
from benchmarks.experiments.finetune import FINETUNE, SMOLLM2
from benchmarks.optimizers import OPTIMIZERS, lora
from benchmarks.optimizers.method import Lesson, Settings, Setup
from benchmarks.report import staged, tables
from benchmarks.report.staged import Report
from benchmarks.runs import checkpoint, epochs, grid, placement
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.execute import execute, prepare
from benchmarks.runs.trainer import Trainer
from benchmarks.tasks.language import NETWORK
from benchmarks.training.keys import order_key

BATCH, CONTEXT, KEY = 4, 8, jax.random.key(0)
NUMBERS = SMOLLM2.tiny()


@pytest.fixture(scope="module")
def data():
    """Return the drawn network and texts; token 7 has no bytes, token 9 has 3."""
    found = NUMBERS.load(None)
    sizes = found.test.sizes.at[jnp.array([7, 9])].set(jnp.array([0, 3]))
    return found._replace(
        train=found.train._replace(sizes=sizes), test=found.test._replace(sizes=sizes)
    )


@pytest.fixture(scope="module")
def task(data):
    return NUMBERS.task(data, BATCH)


@pytest.fixture(scope="module")
def params(task):
    return task.init(jax.random.key(1))[0]


def nats(params, windows):
    """Return the nats of every token but the first of each window, by NumPy."""
    logits = NUMBERS.network().outputs(params[NETWORK], windows[:, :-1])
    log_p = log_softmax(np.asarray(logits, np.float64), axis=-1)
    return -np.take_along_axis(log_p, np.asarray(windows)[:, 1:, None], -1)[..., 0]


def test_all_seeds_begin_with_the_weights_of_the_data_set(data, task):
    both = [task.init(jax.random.key(seed))[0][NETWORK] for seed in (0, 1)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    scale = both[0]["blocks"]["norm1"]["scale"][...]
    np.testing.assert_array_equal(scale, data.params["blocks", "norm1", "scale"])


def test_loss_is_of_windows_of_the_new_text(data, task, params):
    """float32: a mean of 32 numbers of order 5."""
    starts = task.batches(order_key(3), 5)
    assert starts.shape == (NUMBERS.windows // BATCH, BATCH)
    windows = np.stack([data.train.tokens[s : s + CONTEXT + 1] for s in starts[0]])
    loss, (_, found) = task.players[NETWORK](params, (), data.train, starts[0], None)
    expected = nats(params, windows)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    sizes = np.where(windows == 7, 0, np.where(windows == 9, 3, 1))[:, 1:]
    bits = expected.sum() / np.log(2) / sizes.sum()
    np.testing.assert_allclose(found["bits_per_byte"], bits, rtol=1e-5)


def test_scores_are_of_each_text_by_its_bytes(data, task, params):
    found = jax.jit(task.evaluate)(params, (), data.test)
    bits = {}
    for name, end in {"old": "1", "new": "2", "own": "own"}.items():
        windows = np.asarray(data.test.windows[name])
        sizes = np.where(windows == 7, 0, np.where(windows == 9, 3, 1))[:, 1:]
        expected = nats(params, windows).sum() / sizes.sum()
        np.testing.assert_allclose(found[f"loss_{end}"], expected, rtol=1e-5)
        bits[name] = min(expected / np.log(2), 8)
        np.testing.assert_allclose(found[f"bits_per_byte_{end}"], bits[name], rtol=1e-5)
    mean = (bits["old"] + bits["new"]) / 2
    np.testing.assert_allclose(found["bits_per_byte"], mean, rtol=1e-5)


def test_what_is_left_of_the_old_task_is_the_networks_own_texts(data, task):
    assert [bool(task.series.begins(epoch)) for epoch in range(4)] == [0, 1, 0, 0]
    lesson = task.series.finished((), data.train, 1, jax.random.key(0))
    own = np.asarray(data.train.own)
    assert own.shape == (NUMBERS.own, CONTEXT + 1)
    np.testing.assert_array_equal(lesson.inputs, own[:, :-1])
    np.testing.assert_array_equal(lesson.labels, own[:, 1:])
    starts = task.batches(order_key(0), 1)[0]
    batch = task.series.batch((), data.train, starts, jax.random.key(0))
    inputs, labels = batch.recall(jnp.zeros(2, int), jnp.array([3, 1]))
    np.testing.assert_array_equal(inputs, own[[3, 1], :-1])
    np.testing.assert_array_equal(labels, own[[3, 1], 1:])


# --------------------------------------------------------------------------- LoRA


def setup(**numbers):
    settings = Settings(momentum=0.0, weight_decay=0.0, period=2)
    decay = optax.constant_schedule(1.0)
    return Setup(
        {k: jnp.float32(x) for k, x in numbers.items()}, decay, settings, BATCH
    )


def matrices():
    """Return a stack of two matrices, an embedding and a norm."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (2, 5, 4), "embedding": (6, 5), "scale": (5,)}
    return {k: jnp.asarray(rng.normal(size=s), "float32") for k, s in shapes.items()}


def test_adapted_network_is_the_network_at_first():
    params = matrices()
    own = lora.adapted(3, params)
    assert [len(pair) for pair in own.low] == [0, 2, 0]  # by name: the kernel's
    jax.tree.map(np.testing.assert_array_equal, lora.whole(own), params)


def test_narrow_gradients_are_those_of_automatic_differentiation():
    """float32 sums of 5 terms."""
    target = jax.tree.map(jnp.ones_like, matrices())
    own = lora.adapted(3, matrices())
    down = own.low[1][0]
    up = jax.random.normal(jax.random.key(1), own.low[1][1].shape)
    own = own._replace(low=[(), (down, up), ()])

    def loss(params):
        return sum(jnp.sum((params[k] - target[k]) ** 3) for k in params)

    def by_hand(low):
        return matrices() | {"kernel": matrices()["kernel"] + 2 * low[1][0] @ low[1][1]}

    np.testing.assert_allclose(
        lora.whole(own)["kernel"], by_hand(own.low)["kernel"], rtol=1e-5
    )
    expected = jax.grad(lambda low: loss(by_hand(low)))(own.low)
    grads = jax.grad(loss)(lora.whole(own))
    found = lora.low_gradients(grads, own.low)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected
    )


def test_lora_learns_and_leaves_the_network_alone():
    """Adam's first step is its learning rate, of the sign of the gradient."""
    method, numbers = lora.lora(3), setup(learning_rate=0.1)
    params = method.start(matrices())
    tx = method.make(numbers)
    state, grads = tx.init(params), jax.tree.map(jnp.ones_like, matrices())
    updates, state = tx.update(grads, state, params)
    new: Any = optax.apply_updates(params, updates)
    jax.tree.map(np.testing.assert_array_equal, new.network, params.network)
    expected = 0.1 * np.sign(params.low[1][0].sum(axis=1))[:, :, None]
    np.testing.assert_allclose(
        new.low[1][1], np.broadcast_to(-expected, new.low[1][1].shape), rtol=1e-4
    )
    change = method.evaluated(new, state)["kernel"] - params.network["kernel"]
    assert np.linalg.matrix_rank(change[0], tol=1e-5) <= 3


# ------------------------------------------------------------------------ the run


@pytest.mark.parametrize("name", [x for x in FINETUNE.optimizers if "lora" not in x])
def test_nothing_is_learned_before_the_new_task(name):
    """So all methods begin with the same network; what they look at is not there."""
    method, given = OPTIMIZERS[name], matrices()
    numbers = grid.numbers(FINETUNE, name)
    own = {key: values[-1] for key, values in numbers.items()}
    params = method.start(given)
    tx: Any = method.make(setup(**own))
    lesson = Lesson(outputs, jnp.ones((2, 5)), jnp.zeros(2, int), recall, KEY)
    grads, state = jax.tree.map(jnp.ones_like, given), tx.init(params)
    for _ in range(2):
        updates, state = tx.update(grads, state, params, lesson=lesson)
        params = optax.apply_updates(params, updates)
    found = method.evaluated(params, state)
    jax.tree.map(np.testing.assert_array_equal, found, given)


def outputs(params, inputs):
    return inputs @ params["kernel"][0]


def recall(tasks, at):
    return jnp.ones((len(at), 5)), jnp.zeros(len(at), int)


def test_idle_epochs_take_no_time():
    """Of 5 epochs of 2 parts in 3 rounds one is idle."""
    e, parts = replace(FINETUNE, epochs=5), range(0, 8, 4)
    assert epochs.left(e, parts, Position(0, 0), 3) == [
        *["part"] * 4 * 2 * 3,
        *["evaluation"] * 5,
    ]
    assert epochs.left(e, parts, Position(0, 3, 4), 3) == [
        *["part"] * (1 + 2) * 3,
        *["evaluation"] * 2,
    ]
    data: Any = None
    program = grid.programs(e)[0]
    steps = SMOLLM2.windows // program.batch_size
    assert epochs.lane_steps(e, data, program) == 4 * 4 * steps


def test_idle_epochs_are_those_of_the_first_task():
    """The next one is handed over in the first epoch that is trained."""
    for experiment, idle, right in ((FINETUNE, 2, 1), (classify.DEMO, 1, 0)):
        with pytest.raises(ValueError, match=f"={idle}, .* write idle_epochs={right}"):
            replace(experiment, idle_epochs=idle)


def test_a_series_that_ends_before_its_last_task_is_refused():
    with pytest.raises(ValueError, match=r"epoch 1, .* begins after epoch 1; give"):
        replace(FINETUNE, epochs=1)
    with pytest.raises(ValueError, match=r"epoch 48, .* begins after epoch 48"):
        replace(CONTINUAL_DIGITS_5, epochs=48)


def test_a_program_has_one_seed_and_a_few_trials():
    """So few networks are in memory, and a program is short."""
    programs = [x for x in grid.programs(FINETUNE) if x.optimizers == ("fine-tuned",)]
    assert [(*x.seeds, x.trials, x.tests) for x in programs] == [
        (seed, trials, seed > 0)
        for seed in range(6)
        for trials in ((0, 1, 2, 3), (4, 5, 6, 7))
    ]
    small = grid.programs(replace(FINETUNE, large=False))
    assert [[*x.seeds] for x in small[:2]] == [[0], [1, 2, 3, 4, 5]]
    assert {x.trials for x in small} == {tuple(range(8))}


def test_a_program_that_no_report_needs_has_no_trials(monkeypatch):
    monkeypatch.setattr(
        checkpoint,
        "state",
        lambda folder: checkpoint.State(Position(0, 0), "trial\n", {}),
    )
    shown = Report(draw=str, shown_trials=lambda *given: (1, 5))
    monkeypatch.setattr(staged, "report_of", lambda meta: shown)
    nothing: Any = None
    run = epochs.Run(FINETUNE, nothing, Path(), None, {}, nothing)
    programs = [x for x in grid.programs(FINETUNE) if x.optimizers == ("fine-tuned",)]
    found = [epochs.needed(run, x).trials for x in programs[:4]]
    assert found == [(0, 1, 2, 3), (4, 5, 6, 7), (1,), (5,)]
    shown = shown._replace(shown_trials=lambda *given: (1, 2))
    found = [epochs.needed(run, x).trials for x in programs[2:4]]
    assert found == [(1, 2), ()]


@dataclass(frozen=True)
class Device:
    """A device that is not there."""

    platform: str
    process_index: int = 0


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_one_replica_is_trained_at_a_time(platform):
    """On a GPU too, where a small experiment trains all of them at once."""
    device: Any = Device(platform)
    whole = placement.place(FINETUNE, [device])
    assert whole.block == (1, 1)
    some = whole.narrowed(1, 3)
    assert [len(each.where[0]) for each in some.rounds] == [1] * 3
    small = placement.place(replace(FINETUNE, large=False), [device])
    assert small.block != (1, 1)


@pytest.mark.slow
def test_tiny_run_begins_everywhere_with_the_same_network(tmp_path, monkeypatch):
    """A program has one trial; a run leaves out those that no report needs."""
    monkeypatch.setattr(grid, "OF_LARGE", 1)
    names = ("fine-tuned", "fine-tuned, ewc, decoupled", "lora of rank 8")
    few = replace(
        experiments.tiny(FINETUNE),
        groups=(("all", names),),
        contrasts=((names[1], names[0]), (names[1], names[2])),
        primary=((names[1], names[0]),),
        seeds=2,
    )
    trained, advance = set(), Trainer.advance

    def noted(self, *when):
        trained.add(when)
        advance(self, *when)

    monkeypatch.setattr(Trainer, "advance", noted)
    assert execute(prepare(few, "a test", tmp_path, resume=False))
    assert trained == {(1, 0)}  # the first epoch is idle
    text = tables.report(tmp_path, "a test")
    assert "first task was learned before, elsewhere." in text
    assert "2 epochs, of which the first trains nothing" in text
    assert "fine-tuned, ewc, decoupled - fine-tuned (primary)" in text
    assert "| bits per byte of own samples |" in text
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    first = metrics[(metrics.epoch == 1) & (metrics.seed == 0)]
    assert len(first) == 6
    assert first.train_loss.isna().all()  # nothing is trained in an idle epoch
    for measure in ("loss_1", "loss_2", "loss_own"):
        assert first[f"validation_{measure}"].nunique() == 1
    last = metrics[(metrics.epoch == 2) & (metrics.seed == 0)]
    assert last.train_loss.notna().all()
    assert last.validation_loss_2.nunique() == 6
