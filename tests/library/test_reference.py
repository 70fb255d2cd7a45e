"""Exact agreement: the published implementation's runs, and a NumPy float64 oracle."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

import prox_optax

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))

# The reference adds eps to sqrt(v) before the bias correction, optax.adam after it:
# eps is 1e-8 against root mean squares of about 1, and the learning rate bounds each
# step. TRSGD has no such difference: what is left is float64 rounding.
GOLDEN_TOLERANCE = {"trsgd": 1e-12, "tradam": 1e-7}

# The oracle does the same float64 operations in another order: 40 steps of rounding
# errors of 1e-16, amplified by less than 100 along these trajectories.
ORACLE_TOLERANCE = 1e-12

T = 40
RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 6)) / 6
A = A @ A.T + 0.3 * np.eye(6)
B = RNG.normal(size=(T, 6))
W0 = RNG.normal(size=6)
WARMUP_AND_DECAY = [0.0, *np.linspace(0.01, 0.1, 9), *np.linspace(0.1, 0.0, 30)]


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def run(tx, gradient, w0, T):
    """W after each of T steps, jit-compiled."""

    @jax.jit
    def step(w, state, t):
        updates, state = tx.update(gradient(t, w), state, w)
        return optax.apply_updates(w, updates), state

    w = jnp.asarray(w0, jnp.float64)
    state = tx.init(w)
    trajectory = []
    for t in range(T):
        w, state = step(w, state, t)
        trajectory.append(np.asarray(w))
    return np.array(trajectory)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_published_trajectories(path):
    golden = json.loads(path.read_text())
    hyper, A, b = golden["hyperparameters"], golden["A"], jnp.array(golden["b"])
    A = jnp.array(A)
    eta = hyper["learning_rate"]
    if hyper["drop"]:
        eta = optax.piecewise_constant_schedule(eta, {hyper["drop"]: 0.1})
    common = {
        "lambda_w": hyper["lambda_w"],
        "period": hyper["period"],
        "weight_decay": hyper["weight_decay"],
    }
    if golden["optimizer"] == "trsgd":
        tx = prox_optax.trsgd(eta, hyper["momentum"] or None, **common)
    else:
        b1, b2 = hyper["betas"]
        tx = prox_optax.tradam(eta, b1, b2, hyper["eps"], **common)

    expected = np.array(golden["trajectory"])
    actual = run(tx, lambda t, w: A @ w - b[t], golden["w0"], len(expected))

    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=GOLDEN_TOLERANCE[golden["optimizer"]]
    )


def gradient(t, w):
    return A @ w - B[t]


def jax_gradient(t, w):
    return jnp.asarray(A) @ w - jnp.asarray(B)[t]


def schedule(t):
    """From 0 up, down to exactly 0 at the last step."""
    return jnp.asarray(WARMUP_AND_DECAY)[t]


ALIASES = {
    "trsgd": (prox_optax.trsgd, reference.trsgd, {"momentum": 0.9}, {"mu": 0.9}),
    "trsgd-nesterov": (
        prox_optax.trsgd,
        reference.trsgd,
        {"momentum": 0.9, "nesterov": True},
        {"mu": 0.9, "nesterov": True},
    ),
    "trsgdw": (prox_optax.trsgdw, reference.trsgdw, {"momentum": 0.9}, {"mu": 0.9}),
    "tradam": (
        prox_optax.tradam,
        reference.tradam,
        {"b2": 0.99},
        {"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    ),
    "tradamw": (
        prox_optax.tradamw,
        reference.tradamw,
        {"b2": 0.99},
        {"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    ),
}


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "schedule"])
@pytest.mark.parametrize("name", ALIASES)
def test_aliases_follow_the_oracle(name, constant):
    alias, oracle, ours, theirs = ALIASES[name]
    eta = 0.05 if constant else schedule
    tx = alias(eta, **ours, lambda_w=0.02, period=4, weight_decay=1e-2)

    expected = oracle(
        gradient,
        W0,
        T,
        eta=(lambda t: 0.05) if constant else WARMUP_AND_DECAY.__getitem__,
        lambda_w=0.02,
        wd=1e-2,
        S=4,
        **theirs,
    )

    np.testing.assert_allclose(
        run(tx, jax_gradient, W0, T), expected, rtol=0, atol=ORACLE_TOLERANCE
    )


@pytest.mark.parametrize("alias", [prox_optax.trsgd, prox_optax.tradam])
def test_default_lambda_w_is_a_tenth_of_the_first_learning_rate(alias):
    eta = optax.exponential_decay(0.05, 10, 0.5)
    # optax evaluates this schedule in float32, also at step 0: lambda_w is rounded.
    np.testing.assert_allclose(
        run(alias(eta), jax_gradient, W0, T),
        run(alias(eta, lambda_w=0.1 * 0.05), jax_gradient, W0, T),
        rtol=0,
        atol=1e-8,
    )


@pytest.mark.parametrize("period", [1, 3, None])
def test_proximal_follows_the_oracle(period):
    expected, _ = reference.proximal_gradients(B, W0, 0.7, period, step=0.1)
    tx = optax.chain(prox_optax.proximal(0.7, period), optax.sgd(0.1))

    actual = run(tx, lambda t, w: jnp.asarray(B)[t], W0, T)

    np.testing.assert_allclose(actual, expected, rtol=0, atol=ORACLE_TOLERANCE)


@pytest.mark.parametrize("constant", [True, False], ids=["tree", "schedule of trees"])
@pytest.mark.parametrize("coupled", [True, False])
def test_weights_per_parameter(coupled, constant):
    """Each leaf and each element follows its own strength."""
    factory = prox_optax.proximal if coupled else prox_optax.decoupled_proximal
    tree: dict[str, Any] = {"a": 0.3, "b": np.array([0.0, 0.1, 2.0])}
    params = {"a": jnp.asarray(W0[:3]), "b": jnp.asarray(W0[3:])}
    goal = jax.tree.map(lambda w: w + 1.0, params)
    updates = jax.tree.map(lambda w: -0.1 * w, params)

    def one(tx):
        state = prox_optax.set_anchor(tx.init(params), goal)
        return tx.update(updates, state, params)[0]

    actual = one(factory(tree if constant else lambda t: tree))

    for leaf, weights in (("a", np.full(3, 0.3)), ("b", tree["b"])):
        for i, weight in enumerate(weights):
            expected = one(factory(float(weight)))[leaf][i]
            np.testing.assert_array_equal(actual[leaf][i], expected)


@pytest.mark.parametrize("alias", [prox_optax.trsgd, prox_optax.trsgdw])
def test_alias_takes_lambda_w_per_parameter(alias):
    def w_after(lambda_w):
        tx = alias(schedule, 0.9, lambda_w=lambda_w, period=4)
        return run(tx, lambda t, w: jnp.asarray(B)[t], W0, T)

    tree = np.array([0.0, 0.0, 0.0, 0.02, 0.02, 0.02])
    actual = w_after(tree)

    np.testing.assert_allclose(actual[:, :3], w_after(0.0)[:, :3], rtol=0, atol=1e-15)
    np.testing.assert_allclose(actual[:, 3:], w_after(0.02)[:, 3:], rtol=0, atol=1e-15)


def test_decoupled_pull_is_the_closest_point_to_both():
    """U' = (u - r (w - a)) / (1 + r) minimises ||z - (w+u)||^2 + r ||z - a||^2."""
    w, u, a = RNG.normal(size=(3, 6))
    tx = prox_optax.decoupled_proximal(0.35, period=None)
    state = prox_optax.set_anchor(tx.init(jnp.asarray(w)), jnp.asarray(a))

    actual, _ = tx.update(jnp.asarray(u), state, jnp.asarray(w))

    expected = reference.closest_to_both(w + u, a, r=0.7)
    np.testing.assert_allclose(w + actual, expected, rtol=0, atol=1e-14)


def test_anchor_step_is_an_exponential_average():
    tx = optax.chain(
        prox_optax.proximal(0.2, period=1, anchor_step=0.01), optax.sgd(0.1)
    )
    w = jnp.asarray(W0)
    state = tx.init(w)
    a = W0
    for t in range(T):
        a = 0.99 * a + 0.01 * np.asarray(w)
        updates, state = tx.update(jnp.asarray(B[t]), state, w)
        np.testing.assert_allclose(state[0].anchor, a, rtol=0, atol=1e-14)
        w = optax.apply_updates(w, updates)


def test_inner_decay_in_numbers():
    decay = prox_optax.inner_decay(optax.linear_schedule(1.0, 0.0, 10), period=4)
    expected = [1.0, 0.9 / 2, 0.8 / 3, 0.7 / 4, 0.6, 0.5 / 2]
    np.testing.assert_allclose([decay(t) for t in range(6)], expected, rtol=1e-12)
    mean = np.mean([prox_optax.inner_decay(1.0)(t) for t in range(10)])
    assert round(float(mean), 3) == 0.293


def test_rescale_b2_keeps_the_half_life_in_examples():
    b2 = prox_optax.rescale_b2(0.95, batch_size=8, reference_batch_size=512)
    steps = 512 / 8
    assert b2**steps == pytest.approx(0.95, rel=1e-14)
    assert prox_optax.rescale_b2(0.999, 64, 64) == 0.999


@pytest.mark.parametrize(
    ("curvature", "lambda_w", "period", "diverges"),
    [
        # Near each edge of the three bands of inner decay alone; SGD beside them.
        *((h, 0.0, 10, False) for h in (0.25, 0.50, 1.16, 1.73, 2.57, 3.63)),
        *((h, 0.0, 10, True) for h in (0.27, 0.48, 1.18, 1.71, 2.59, 3.60)),
        *((h, 0.0, 1, False) for h in (0.3, 1.4, 3.0, 3.75)),
        (3.85, 0.0, 1, True),
        # The coupled pull moves them down ...
        *((h, 0.05, 10, False) for h in (0.12, 0.41, 1.06, 1.63, 2.48, 3.53)),
        *((h, 0.05, 10, True) for h in (0.13, 0.39, 1.08, 1.61, 2.49, 3.51)),
        # ... until the first reaches 0.
        (0.001, 0.095, 10, False),
        (0.001, 0.098, 10, True),
    ],
)
def test_stability_limits_that_the_documents_quote(
    curvature, lambda_w, period, diverges
):
    """Spectral radius over a period of 10, momentum 0.9, learning rate 1."""

    def after_a_period(w, b):
        trajectory = reference.trsgd(
            lambda t, w: curvature * w,
            np.array([w]),
            10,
            lambda t: 1.0,
            lambda_w,
            mu=0.9,
            wd=0.0,
            S=period,
            b=np.array([b]),
        )
        before, last = trajectory[-2:, 0]
        return last, (before - last) * ((10 - 1) % period + 1)

    M = np.transpose([after_a_period(1.0, 0.0), after_a_period(0.0, 1.0)])
    assert (np.abs(np.linalg.eigvals(M)).max() > 1) == diverges
