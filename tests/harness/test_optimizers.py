"""The optimizers under test are what they are called, against loops in NumPy."""

import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from scipy import stats

import prox_optax
from benchmarks.optimizers import OPTIMIZERS, ablations
from benchmarks.optimizers.method import Settings, Setup
from benchmarks.records import run_files
from benchmarks.records.score import Score
from benchmarks.report import statistics
from benchmarks.runs import folders
from benchmarks.training.noise import Noise, perturb, student_t

HOUSE = Path(__file__).parents[2] / "benchmarks"


def steps(optimizer, w, gradients):
    """Parameters after each gradient."""
    state, path, update = optimizer.init(w), [], jax.jit(optimizer.update)
    for g in gradients:
        updates, state = update(g, state, w)
        w = optax.apply_updates(w, updates)
        path.append(w)
    return np.asarray(path)


def path_of(name, settings, batch, gradients, start, decay=lambda t: 1.0, **numbers):
    """Return the parameters after each gradient; the rate is 0.05 by default."""
    numbers = {"learning_rate": 0.05} | numbers
    setup = Setup(numbers, decay, settings, batch)
    return steps(OPTIMIZERS[name].make(setup), start, gradients)


@pytest.mark.slow
def test_controls_are_what_they_are_called():
    settings = Settings(momentum=0.9, weight_decay=0.01, period=10)
    gradients = jax.random.normal(jax.random.key(0), (25, 3))
    start = jnp.ones(3)

    def path(name, rate=0.05):
        return path_of(name, settings, 8, gradients, start, learning_rate=rate)

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
    plain = path_of("sgd", settings, 8, means, start)
    close(path("accumulation")[3:24:4], plain)

    def ablated(name):
        return path_of(name, settings, 8, gradients, start, strength=0.1)

    close(ablated("coupled, inner decay"), path("trsgd"))
    close(ablated("coupled, no inner decay"), path("anchor alone"))
    settings = replace(settings, weight_decay=0.0)  # trsgdw decouples it
    decoupled = prox_optax.trsgdw(0.05, 0.9, lambda_w=0.005, weight_decay=0.0)
    close(ablated("decoupled, inner decay"), steps(decoupled, start, gradients))
    settings = replace(settings, weight_decay=0.01)
    # The pull without inner decay is trsgd's at the first two steps, times its decay.
    close(path("anchor alone")[0], path("trsgd")[0])
    assert np.abs(path("trsgd") - path("inner decay alone")).max() > 1e-3
    assert np.abs(path("trsgdw") - path("inner decay alone")).max() > 1e-3


def test_student_t_has_its_quantiles():
    draws = np.asarray(student_t(jax.random.key(0), (200_000,)))
    assert np.isfinite(draws).all()
    probabilities = [0.001, 0.05, 0.5, 0.9, 0.999]
    # An empirical probability of 200,000 draws has an error of at most 0.0011.
    found = stats.t.cdf(np.quantile(draws, probabilities), df=2)
    np.testing.assert_allclose(found, probabilities, atol=0.004)


def test_no_noise_leaves_the_gradients_alone():
    grads = {"a": jnp.ones(3)}
    assert perturb(Noise())(grads, jax.random.key(0)) is grads
    assert [str(Noise()), str(Noise("student-t", 0.1))] == ["no noise", "student-t 0.1"]


@pytest.mark.parametrize("name", ablations.OF_SGD)
def test_every_ablation_is_what_it_is_called(name):
    """Against a loop in NumPy, at a learning rate that decays."""
    settings, start = Settings(0.9, 0.01, 10), np.array([1.0, -2.0])
    gradients = np.random.default_rng(0).normal(size=(60, 2))

    def decay(t):
        return 1.0 if t < 30 else 0.1

    form, *rest = name.split(", ")
    period = int(rest[0].removeprefix("S = ")) if rest[0].startswith("S") else 10
    part = float(rest[0].split()[-1]) if rest[0].startswith("anchor") else 1.0
    w, a, b, expected = start, start, 0.0, []
    for t, g in enumerate(gradients):
        k, eta = t % period, 0.05 * decay(t)
        a = a + part * (w - a) if k == 0 else a
        inner = 1 if rest[0] == "no inner decay" else k + 1
        if form == "coupled":
            g = g + 2 * (0.7 / decay(t)) * (w - a)
        b = 0.9 * b + g + 0.01 * w
        u = -eta / inner * b
        r = 2 * 0.7 * 0.05 / inner if form == "decoupled" else 0.0
        w = w + (u - r * (w - a)) / (1 + r)
        expected.append(w)
    schedule = optax.join_schedules([lambda t: 1.0, lambda t: 0.1], [30])
    start, gradients = jnp.float32(start), jnp.float32(gradients)
    path = path_of(name, settings, 8, gradients, start, schedule, strength=0.7)
    # float32: 60 steps of order 1, each rounded to 6e-8.
    np.testing.assert_allclose(path, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ablations.OF_ADAM)
def test_every_ablation_of_adam_is_what_it_is_called(name):
    """Against a loop in NumPy, at a learning rate that decays."""
    settings, start = Settings(0.9, 0.01, 10, b2=0.99), np.array([1.0, -2.0])
    gradients = np.random.default_rng(0).normal(size=(60, 2))
    _, form, part = name.split(", ")
    w, a, m, v, expected = start, start, 0.0, 0.0, []
    for t, g in enumerate(gradients):
        decay, k = 1.0 if t < 30 else 0.1, t % 10
        a = w if k == 0 else a
        eta = 0.05 * decay / (1 if part == "no inner decay" else k + 1)
        if form == "coupled":
            g = g + 2 * (0.7 / decay) * (w - a) + 0.01 * w
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        b = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
        u, r = -eta * b, 0.0
        if form == "decoupled":
            u = u - eta * 0.01 * w
            r = 2 * 0.7 * 0.05 / (1 if part == "no inner decay" else k + 1)
        w = w + (u - r * (w - a)) / (1 + r)
        expected.append(w)
    schedule = optax.join_schedules([lambda t: 1.0, lambda t: 0.1], [30])
    start, gradients = jnp.float32(start), jnp.float32(gradients)
    path = path_of(name, settings, 8, gradients, start, schedule, strength=0.7)
    # float32: 60 steps of order 0.05, each rounded to 6e-8.
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-5)


def test_the_adam_family_takes_its_numbers_from_the_settings():
    settings = Settings(0.0, 0.0, 10, b1=0.5, b2=0.9, b2_batch=16)
    gradients, start = jax.random.normal(jax.random.key(0), (40, 3)), jnp.ones(3)
    path = partial(path_of, settings=settings, gradients=gradients, start=start)

    def adam(b2, gradients):
        return steps(optax.adam(0.05, b1=0.5, b2=b2), start, gradients)

    # float32: 40 steps of order 0.05, each rounded to 6e-8
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-5)
    close(path("adam", batch=4), adam(0.9, gradients))
    close(path("adam, b2 rescaled", batch=4), adam(0.9**0.25, gradients))
    tradam = prox_optax.tradam(0.05, 0.5, 0.9, period=10)
    close(path("tradam", batch=4), steps(tradam, start, gradients))
    # At batch 4 every fourth gradient ends a batch of 16; at 16 each does.
    means = gradients.reshape(10, 4, 3).mean(axis=1)
    name = "adam, accumulated to 16"
    close(path(name, batch=4)[3::4], adam(0.9, means))
    close(path(name, batch=16), adam(0.9, gradients))


def test_the_average_is_of_adams_parameters():
    settings = Settings(0.0, 0.0, 10)
    gradients, w = jax.random.normal(jax.random.key(0), (6, 3)), jnp.ones(3)
    method = OPTIMIZERS["adam, weight average"]
    optimizer = method.make(Setup({"learning_rate": 0.05}, lambda t: 1.0, settings, 8))
    path = np.asarray([w, *path_of("adam", settings, 8, gradients, w)])
    state, average = optimizer.init(w), path[0]
    for g, before in zip(gradients, path, strict=False):
        updates, state = optimizer.update(g, state, w)
        w = optax.apply_updates(w, updates)
        average = average + 0.01 * (before - average)
    # float32: as above
    np.testing.assert_allclose(w, path[-1], atol=1e-5)
    np.testing.assert_allclose(method.evaluated(w, state), average, atol=1e-5)


def test_muon_leaves_embeddings_and_vectors_to_adam():
    settings = Settings(0.0, 0.0, 10, b1=0.9, b2=0.95)
    shapes = {"embedding": (6, 4), "kernel": (6, 4), "scale": (4,)}
    params = {name: jnp.ones(shape) for name, shape in shapes.items()}
    grads = {
        name: jax.random.normal(jax.random.key(len(name)), shape)
        for name, shape in shapes.items()
    }
    setup = Setup({"learning_rate": 0.05}, lambda t: 1.0, settings, 1)
    optimizer = OPTIMIZERS["muon beside adam"].make(setup)
    muons, _ = optimizer.update(grads, optimizer.init(params), params)
    adam = optax.nadam(0.05, b2=0.95)  # Muon's part by Adam is with Nesterov's step
    adams, _ = adam.update(grads, adam.init(params), params)
    for name in ("embedding", "scale"):
        np.testing.assert_allclose(muons[name], adams[name], rtol=1e-5)
    # The step on a matrix is as large as Adam's later ones, 0.2 a number, and flat:
    # five iterations bring its singular values to between 0.7 and 1.2 of the largest.
    values = np.linalg.svd(muons["kernel"], compute_uv=False)
    assert values[-1] > 0.5 * values[0]
    assert 0.05 < np.sqrt(np.mean(muons["kernel"] ** 2)) / 0.05 < 0.3


def test_every_number_has_its_own_column():
    taken = {*run_files.run_columns()} - {"threshold", "strength"}
    for method in OPTIMIZERS.values():
        assert not taken & {*method.numbers}


OWN_OPTIMIZER = """
import optax

from benchmarks.optimizers.bases import l2_sgd
from benchmarks.optimizers.method import Method


def clipped_by_element(setup):
    clip = optax.clip(setup.numbers["largest"])
    return optax.chain(clip, l2_sgd(setup, setup.rate()))


OPTIMIZERS = {
    "clipped by element": Method(clipped_by_element, numbers={"largest": (0.1, 1.0)})
}
"""
OWN_EXPERIMENT = """
from dataclasses import replace

from benchmarks.experiments.classify import DEMO

EXPERIMENTS = (
    replace(
        DEMO,
        name="own",
        problem=replace(DEMO.problem, train=64, channels=(2, 2)),
        groups=(("SGD and ours", ("sgd", "clipped by element")),),
        learning_rates=(0.01, 0.03, 0.1, 0.3),
        seeds=2,
        epochs=2,
    ),
)
"""


@pytest.mark.slow
def test_an_optimizer_with_its_own_number_is_one_file(tmp_path):
    """And an experiment with it another: both are put beside the rest, then run."""
    shared = tmp_path / "benchmarks"
    shutil.copytree(HOUSE, shared, ignore=shutil.ignore_patterns("results", "*.pyc"))
    (shared / "optimizers" / "own.py").write_text(OWN_OPTIMIZER)
    (shared / "experiments" / "own.py").write_text(OWN_EXPERIMENT)
    command = [sys.executable, "-m", "benchmarks", "run", "own"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "own"
    assert folders.is_metrics(results / "metrics.csv")  # a next run may overwrite it
    metrics = pd.read_csv(results / "metrics.csv")
    assert run_files.own_numbers(metrics) == ["threshold", "strength", "largest"]
    ours = metrics[metrics.optimizer == "clipped by element"]
    tried = {(0.01, 0.1), (0.1, 0.1), (0.01, 1.0), (0.1, 1.0)}
    assert {*zip(ours.learning_rate, ours.largest, strict=True)} == tried
    assert metrics[metrics.optimizer == "sgd"].largest.isna().all()
    assert "| clipped by element" in (results / "table.md").read_text()


def test_a_curve_is_of_the_best_trials_own_numbers():
    """Two numbers, which half of the runs do not have; the second is the best."""
    tried = [(None, None), (0.1, 1.0), (0.1, 2.0), (0.2, 1.0)]
    columns = ["trial", "learning_rate", "largest", "other", "seed", "validation_x"]
    rows = [
        (2 * number + fine, 10.0**fine, *numbers, seed, x)
        for number, (numbers, best) in enumerate(zip(tried, (1, 2, 9, 3), strict=True))
        for fine, x in enumerate((best, best - 0.5))
        for seed in (0, 1)
    ]
    score = Score("x", {"x": "x"}, True, 0.1, 0.0, (0.0, 9.0), 0.5)
    runs = pd.DataFrame(rows, columns=columns).astype({"largest": float})
    curve = statistics.validation_curve(runs, score)
    np.testing.assert_array_equal(curve.mean(axis=1), [9, 8.5])
    curve = statistics.validation_curve(runs[runs.trial < 2], score)
    np.testing.assert_array_equal(curve.mean(axis=1), [1, 0.5])
