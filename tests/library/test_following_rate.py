"""`decoupled_proximal` with a learning rate: the pull follows it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prox_optax import decoupled_proximal, set_anchor

W = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([[0.5]])}
STRENGTH = {"a": jnp.array([0.0, 3.0]), "b": 2.0}
RATE = optax.cosine_decay_schedule(0.1, 10)
GRADIENT = jax.tree.map(jnp.ones_like, W)


def states(pull, steps=6):
    """Run SGD at the rate with a pull behind it, towards 0; return all params."""
    tx = optax.chain(optax.sgd(RATE), pull)
    w: Any = W
    state = set_anchor(tx.init(W), jax.tree.map(jnp.zeros_like, W))
    for _ in range(steps):
        updates, state = jax.jit(tx.update)(GRADIENT, state, w)
        w = optax.apply_updates(w, updates)
        yield w


following = partial(decoupled_proximal, period=None, learning_rate=RATE)


def test_it_is_lambda_w_of_strength_times_rate():
    """Bit for bit the schedule of trees that one would write by hand."""

    def by_hand(t):
        return jax.tree.map(lambda x: RATE(t) * x, STRENGTH)

    pulls = following(STRENGTH), decoupled_proximal(by_hand, period=None)
    for ours, theirs in zip(*map(states, pulls), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_by_the_formula():
    """The step goes to (w + u + r a) / (1 + r) with r = 2 eta F, here with a = 0."""
    w = {k: np.asarray(x, np.float64) for k, x in W.items()}
    for t, found in enumerate(states(following(STRENGTH))):
        eta = np.asarray(RATE(t), np.float64)
        w = {
            k: (x - eta) / (1 + 2 * eta * np.asarray(STRENGTH[k])) for k, x in w.items()
        }
        for k in w:
            np.testing.assert_allclose(found[k], w[k], rtol=1e-5)


def test_a_strength_that_is_a_schedule_too():
    falling = following(lambda t: 1.0 / (1 + t))
    product = decoupled_proximal(lambda t: RATE(t) * (1.0 / (1 + t)), period=None)
    for ours, theirs in zip(states(falling), states(product), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_rate_that_is_a_number():
    constant = decoupled_proximal(STRENGTH, period=None, learning_rate=0.1)
    product = jax.tree.map(lambda x: 0.1 * x, STRENGTH)
    pulls = constant, decoupled_proximal(product, period=None)
    for ours, theirs in zip(*map(states, pulls), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_pull_of_rate_0_changes_nothing():
    tx = decoupled_proximal(STRENGTH, learning_rate=lambda t: 0.0 * t)
    updates, _ = tx.update(GRADIENT, tx.init(W), jax.tree.map(lambda w: w + 1, W))
    jax.tree.map(np.testing.assert_array_equal, updates, GRADIENT)


def test_the_counter_goes_on_beyond_the_period():
    """A schedule of the rate knows no period: its steps are all steps."""
    tx = decoupled_proximal(1.0, period=2, learning_rate=RATE)
    state = tx.init(W)
    for _ in range(5):
        _, state = tx.update(GRADIENT, state, W)
    assert int(optax.tree.get(state, "step")) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_w": 1e30, "learning_rate": 1e30}, "lambda_w x learning_rate must be"),
        ({"learning_rate": -0.1}, "learning_rate must be finite and not negative"),
    ],
)
def test_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        decoupled_proximal(**arguments)
