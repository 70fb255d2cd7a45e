"""Texts in series: what is read, shown, remembered and scored, by plain NumPy."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from benchmarks import experiments
from benchmarks.data import text
from benchmarks.experiments.continual import CONTINUAL_TEXT
from benchmarks.models.transformer import SHAPES, Shape
from benchmarks.optimizers import memory
from benchmarks.optimizers.method import Settings, Setup
from benchmarks.report import tables
from benchmarks.runs.execute import execute, prepare
from benchmarks.tasks.text_series import TextSeries
from benchmarks.training.keys import order_key

LENGTH, BATCH, CONTEXT = 300, 4, 6


@pytest.fixture
def numbers(monkeypatch):
    monkeypatch.setitem(SHAPES, "small", Shape(width=8, layers=1, heads=2))
    return TextSeries(
        shape="small",
        context=CONTEXT,
        windows=12,
        evaluated=5,
        remembered=7,
        tasks=3,
        epochs_each=2,
    )


@pytest.fixture
def texts(numbers, tmp_path):
    bytes_ = np.random.default_rng(0).integers(0, 256, (3, LENGTH)).astype(np.uint8)
    for name, data in zip("cab", bytes_, strict=True):
        (tmp_path / f"{name}.txt").write_bytes(
            data.tobytes() + b"x" * 40 * "cab".index(name)
        )
    return numbers.load(tmp_path), bytes_[[1, 2, 0]]


def test_texts_are_in_the_order_of_their_names_and_equally_long(texts):
    found, expected = texts
    assert [x.shape for x in found[:3]] == [(3, 270), (3, 15), (3, 15)]
    np.testing.assert_array_equal(jnp.concatenate(found[:3], axis=1), expected)
    assert found.source.startswith("the first 300 bytes of a.txt (340 bytes, sha256 ")
    assert ", c.txt (300 bytes, sha256 " in found.source


def test_a_folder_with_too_few_texts_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text("one")
    with pytest.raises(FileNotFoundError, match=r"3 texts.*--data-dir DIR.*has 1\."):
        text.load_all(tmp_path, 4, 3)
    with pytest.raises(FileNotFoundError, match="It has 0"):
        text.load_all(None, 4, 3)
    (tmp_path / "two.txt").write_text("two")
    with pytest.raises(ValueError, match=r"one\.txt holds 3 bytes"):
        text.load_all(tmp_path, 4, 2)


def test_each_text_is_shown_in_its_epochs(numbers, texts):
    task = numbers.task(texts[0], BATCH)
    seen = []
    for epoch in range(8):
        starts, number = task.batches(order_key(3), epoch)
        assert starts.shape == (3, BATCH)
        assert 0 <= starts.min() <= starts.max() < 270 - CONTEXT
        seen.append({*np.asarray(number)})
    assert seen == [{0}, {0}, {1}, {1}, {2}, {2}, {2}, {2}]
    begins = [bool(task.series.begins(epoch)) for epoch in range(8)]
    assert begins == [False, False, True, False, True, False, False, False]


def nats(model, windows):
    """Return the nats of every byte but the first of each window."""
    logits = np.asarray(model(windows[:, :-1]), np.float64)
    own = np.take_along_axis(logits, windows[:, 1:, None].astype(int), -1)[..., 0]
    return np.log(np.exp(logits).sum(axis=-1)) - own


def test_loss_and_scores_are_those_of_windows_cut_by_hand(numbers, texts):
    """float32: means of at most 48 numbers of order 5."""
    found, bytes_ = texts
    task = numbers.task(found, BATCH)
    params, stats = task.init(jax.random.key(1))
    params = jax.tree.map(lambda x: 5 * x, params)  # logits that differ
    graph = nnx.graphdef(numbers.network(nnx.Rngs(0)))
    model = nnx.merge(graph, params["network"])
    starts = np.array([3, 200, 0, 263])
    cut = np.stack([bytes_[2, s : s + CONTEXT + 1] for s in starts])
    batch = jnp.asarray(starts), jnp.int32(2)
    loss, _ = task.players["network"](params, stats, found.train, batch, None)
    np.testing.assert_allclose(loss, nats(model, cut).mean(), rtol=1e-5)
    scores = task.evaluate(params, stats, found.test)
    bits = []
    for number in range(3):
        part = bytes_[number, 285:]
        windows = np.stack([part[s : s + 7] for s in (0, 2, 4, 6, 8)])
        expected = nats(model, windows).mean()
        bits.append(min(expected / np.log(2), 8))
        np.testing.assert_allclose(scores[f"loss_{number + 1}"], expected, rtol=1e-5)
        np.testing.assert_allclose(
            scores[f"bits_per_byte_{number + 1}"], bits[-1], rtol=1e-5
        )
    np.testing.assert_allclose(scores["bits_per_byte"], np.mean(bits), rtol=1e-5)


def test_kept_places_are_windows_of_the_finished_text(numbers, texts):
    found, bytes_ = texts
    task = numbers.task(found, BATCH)
    lesson = task.series.finished((), found.train, 4, jax.random.key(0))
    starts = [0, 43, 87, 131, 175, 219, 263]
    windows = np.stack([bytes_[1, s : s + CONTEXT + 1] for s in starts])
    np.testing.assert_array_equal(lesson.inputs, windows[:, :-1])
    np.testing.assert_array_equal(lesson.labels, windows[:, 1:])
    inputs, labels = lesson.recall(jnp.array([1, 0]), jnp.array([6, 2]))
    np.testing.assert_array_equal(inputs[0], windows[6, :-1])
    np.testing.assert_array_equal(inputs[1], bytes_[0, 87:93])
    np.testing.assert_array_equal(labels[1], bytes_[0, 88:94])


def test_fisher_is_that_of_a_byte(numbers, texts):
    """Labels of a window are drawn together; float32 sums of 42 squares: 1e-4."""
    found, _ = texts
    task = numbers.task(found, BATCH)
    params = task.init(jax.random.key(0))[0]["network"]
    lesson = task.series.finished((), found.train, 2, jax.random.key(5))
    nothing: Any = None
    weigh = jax.jit(lambda params: memory.fisher(nothing, lesson, nothing, params))

    def surprise(params, window, labels):
        logits = jax.nn.log_softmax(lesson.outputs(params, window[None])[0])
        return -logits[jnp.arange(CONTEXT), labels].sum()

    total = jax.tree.map(jnp.zeros_like, params)
    for window, key in zip(lesson.inputs, jax.random.split(lesson.key, 7), strict=True):
        logits = lesson.outputs(params, window[None])[0]
        labels = jax.random.categorical(key, logits)
        grads = jax.grad(surprise)(params, window, labels)
        total = jax.tree.map(lambda t, g: t + g**2 / CONTEXT / 7, total, grads)
    largest = max(float(x.max()) for x in jax.tree.leaves(total))
    jax.tree.map(
        lambda f, t: np.testing.assert_allclose(f, t, rtol=1e-4, atol=1e-4 * largest),
        weigh(params),
        total,
    )


def test_the_moment_counts_every_byte_of_a_batch(numbers, texts):
    """A batch of 4 windows of 6 bytes is 24 labels; after one step v is g^2."""
    found, _ = texts
    task = numbers.task(found, BATCH)
    lesson = task.series.finished((), found.train, 2, jax.random.key(5))
    params = {"w": jnp.array([1.0, -2.0])}
    adam = optax.scale_by_adam(b2=0.9)
    _, state = adam.update({"w": jnp.array([0.5, 3.0])}, adam.init(params))
    held = memory.Memory(jnp.int32(1), params, params, (), state)
    settings = Settings(momentum=0.0, weight_decay=0.0, period=1, b2=0.9)
    setup = Setup({}, lambda step: 1.0, settings, BATCH)
    fisher = memory.from_adam(setup, lesson, held, params)["w"]
    np.testing.assert_allclose(fisher, 24 * np.array([0.25, 9.0]), rtol=1e-5)


@pytest.mark.slow
def test_a_run_and_its_report(tmp_path):
    words = "to be or not to be, that is the question.\n", "import this; "
    data = tmp_path / "data"
    data.mkdir()
    for number, each in enumerate(words):
        (data / f"{number}.txt").write_text(each * (4000 // len(each)))
    names = "plain adam", "adam, replay of 130"
    few = replace(
        experiments.tiny(CONTINUAL_TEXT),
        groups=(("", names),),
        contrasts=((names[1], names[0]),),
        primary=((names[1], names[0]),),
    )
    run = prepare(few, "a test", tmp_path / "run", resume=False, data_dir=data)
    assert execute(run)
    table = tables.report(tmp_path / "run", "a test")
    assert "bits per byte, the new task with a weight." in table
    assert "adam, replay of 130 - plain adam (primary)" in table
