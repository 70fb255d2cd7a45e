"""Label-to-photo synthesis: its losses, its scores, its pictures, a whole tiny run."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks import experiments
from benchmarks.__main__ import app
from benchmarks.data.augment import jitter
from benchmarks.data.pairs import Pairs
from benchmarks.experiments.label_to_photo import GAN
from benchmarks.models.pix2pix import initial_params
from benchmarks.tasks import gan_losses, label_to_photo, pictures, segmentation
from benchmarks.tasks.gan_losses import DISCRIMINATOR, GENERATOR
from benchmarks.tasks.segmentation import SEGMENTER, HeldOut, SegmenterConfig

CLASSES, VOID, SIZE = 12, 11, 32
CONFIG = SegmenterConfig(CLASSES, VOID, width=2)


@pytest.fixture(scope="module")
def some_pairs():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=(5, SIZE, SIZE), dtype=np.uint8)
    photos = rng.integers(256, size=(5, SIZE, SIZE, 3), dtype=np.uint8)
    return Pairs(jnp.asarray(labels), jnp.asarray(photos))


def softplus(x):
    return np.logaddexp(0, np.asarray(x, np.float64))


def test_losses_are_those_published(some_pairs):
    """The oracle is NumPy on the networks' outputs: cross-entropies, 100 times L1."""
    networks = GAN.problem.tiny().networks(CLASSES)
    task = gan_losses.pix2pix(networks, CONFIG, examples=5, batch_size=2)
    assert list(task.players) == [DISCRIMINATOR, GENERATOR]
    gan = gan_losses.gan_of(networks, CLASSES)
    key, index = jax.random.key(3), jnp.asarray([4, 1])

    @jax.jit
    def everything():
        params, start = gan_losses.initial_gan(networks, jax.random.key(0))
        losses = {
            name: loss(params, start, some_pairs, index, key)
            for name, loss in task.players.items()
        }
        crop, drop = jax.random.split(key)
        photos = segmentation.signed(some_pairs.photos[index])
        labels, true = jitter(crop, some_pairs.labels[index], photos)
        made = gan.generate(params, labels, drop)
        logits = [gan.discriminate(params, labels, x) for x in (true, made)]
        return losses, true, made, logits

    losses, true, made, (real, fake) = everything()
    expected = {
        DISCRIMINATOR: (softplus(-real).mean() + softplus(fake).mean()) / 2,
        GENERATOR: softplus(-fake).mean() + 100 * np.abs(true - made).mean(),
    }
    found = {name: measures for name, (_, (_, measures)) in losses.items()}
    for name, value in expected.items():
        # float32: sums of some thousand numbers of order 1
        np.testing.assert_allclose(losses[name][0], value, rtol=1e-5)
    np.testing.assert_allclose(found[DISCRIMINATOR]["real"], real.mean(), atol=1e-6)
    np.testing.assert_allclose(found[DISCRIMINATOR]["fake"], fake.mean(), atol=1e-6)
    np.testing.assert_allclose(
        found[GENERATOR]["l1"], np.abs(true - made).mean() / 2, rtol=1e-5
    )
    assert {*found[DISCRIMINATOR], *found[GENERATOR]} == set(task.measures)


def test_swing_is_the_deviation_over_the_last_epoch():
    values = np.random.default_rng(0).normal(2, 0.5, size=21)
    logits = gan_losses.FakeLogits(jnp.int32(0), jnp.float32(0), jnp.float32(0))
    add_step = jax.jit(partial(gan_losses.add_step, steps_an_epoch=7))
    for value in values:
        logits = add_step(logits, jnp.float32(value))
    # float32: a variance of 1/4 from squares up to 10
    np.testing.assert_allclose(logits.swing(), values[-7:].std(), rtol=1e-5)


@pytest.fixture(scope="module")
def held_out(some_pairs):
    """Return pairs with a random segmenter, which reads pixels as several classes."""
    params = jax.jit(partial(initial_params, CONFIG.make))(jax.random.key(1))
    return HeldOut(some_pairs, jax.tree.map(lambda x: 10 * x, params))


def test_scores_of_the_truth_and_of_nothing_finite(held_out):
    factors = jnp.asarray([1.0, jnp.nan])
    score = partial(segmentation.score_photos, CONFIG)

    @jax.jit
    def both():
        def make(index, labels, photo, factor):
            return factor * photo, {"number": index}

        return jax.lax.map(lambda x: score(held_out, partial(make, factor=x)), factors)

    found = {name: np.asarray(values) for name, values in both().items()}
    np.testing.assert_array_equal(found["number"], [2, 2])
    np.testing.assert_allclose(found["l1"], [0, np.nan])
    np.testing.assert_allclose(found["ms_ssim"], [1, np.nan], atol=1e-6)
    assert found["miou"][0] > 0.01
    assert found["miou"][1] == 0


def test_the_segmenter_learns_from_labelled_pixels_alone(some_pairs):
    task = segmentation.segmentation(CONFIG, examples=8)
    key, index = jax.random.key(0), jnp.arange(5)
    params, _ = jax.jit(task.init)(key)

    @jax.jit
    def loss(labels):
        pairs = some_pairs._replace(labels=labels)
        return task.players[SEGMENTER](params, (), pairs, index, key)[0]

    labels = some_pairs.labels
    nothing = jnp.full_like(labels, VOID)
    assert loss(nothing) == 0
    # all logits are nearly 0 at first, so every pixel counts log(12) or not at all
    half = labels.at[:, : SIZE // 2].set(VOID)
    for maps in (labels, half):
        np.testing.assert_allclose(loss(maps), np.log(CLASSES), rtol=0.05)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_pictures_are_files_and_a_grid(tmp_path, some_pairs):
    made = {"batch 1, adam": segmentation.signed(some_pairs.photos)}
    written = pictures.write_pictures(tmp_path / "samples", some_pairs, CLASSES, made)
    assert len(written) == 3 * 5 + 1
    for name in ("truth", "batch 1, adam"):
        for number, photo in enumerate(some_pairs.photos):
            path = tmp_path / "samples" / name / f"{number:02}.png"
            np.testing.assert_array_equal(pixels(path), photo)
    coloured = pixels(tmp_path / "samples" / "input" / "00.png")
    labels = np.asarray(some_pairs.labels[0])
    colours = [np.unique(coloured[labels == k], axis=0) for k in range(CLASSES)]
    assert len(np.unique(np.concatenate(colours), axis=0)) == len(colours)
    np.testing.assert_array_equal(colours[VOID], [[0, 0, 0]])
    assert written[-1].name == "grid.png"
    assert pixels(written[-1]).shape[1] > 300


def write_pairs(folder):
    rng = np.random.default_rng(0)
    for part, n in (("train", 9), ("val", 4), ("test", 5)):
        for kind, shape, high in (("label", (), 12), ("photo", (3,), 256)):
            (folder / part / kind).mkdir(parents=True)
            for k in range(n):
                pixels = rng.integers(high, size=(40, 48, *shape), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / kind / f"{k}.png")


def test_pairs_are_loaded_without_training(tmp_path, monkeypatch):
    """The segmenter is trained once, when a held-out split is first asked for."""
    write_pairs(tmp_path)
    trained = []

    def train_segmenter(config, pairs, epochs):
        trained.append((config, len(pairs.labels), epochs))
        return "parameters"

    monkeypatch.setattr(label_to_photo, "train_segmenter", train_segmenter)
    problem = GAN.problem.tiny()
    data_set = problem.load(tmp_path)
    assert problem.examples(data_set) == len(data_set.train.photos) == 8
    assert data_set.source == "CamVid (PNG copy, 48x40)"
    assert trained == []
    assert data_set.validation.segmenter == data_set.test.segmenter == "parameters"
    assert len(data_set.validation.pairs.labels) == 4
    config = SegmenterConfig(12, 11, problem.segmenter_width)
    assert trained == [(config, 8, problem.segmenter_epochs)]


@pytest.mark.slow
def test_a_tiny_run_and_its_pictures(tmp_path, monkeypatch):
    one = replace(GAN, groups=(("", ("tradam",)),), contrasts=())
    monkeypatch.setitem(experiments.EXPERIMENTS, "gan", one)
    write_pairs(tmp_path / "data")
    folder = tmp_path / "out"
    options = ["gan", "--tiny", "--data-dir", tmp_path / "data", "--out", folder]

    def invoke(command):
        done = CliRunner().invoke(app, [command, *map(str, options)])
        assert done.exit_code == 0, done.output

    invoke("run")
    rows = pd.read_csv(folder / "metrics.csv")
    assert len(rows) == 2 * 2  # rates and seeds
    measures = [*GAN.problem.score.labels]
    evaluated = rows[[f"validation_{name}" for name in measures]]
    assert np.isfinite(evaluated).all(axis=None)
    assert (rows.train_l1.between(0.05, 0.95)).all()
    references = json.loads((folder / "meta.json").read_text())["references"]
    assert references["the true photo"]["l1"] == 0
    assert references["the true photo"]["ms_ssim"] == pytest.approx(1, abs=1e-6)
    assert 0.1 < references["always the mean photo"]["l1"] < 0.5
    assert "| the true photo" in (folder / "table.md").read_text()
    invoke("sample")
    assert len(list((folder / "samples" / "batch 1, tradam").iterdir())) == 4
    assert (folder / "samples" / "grid.png").is_file()
