"""A pull put before or behind an optimizer is the chain of both, bit for bit."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import prox_optax

RATE = optax.cosine_decay_schedule(0.1, 9)
ADAM = optax.adam(RATE)
OUTSIDE = optax.sgd(0.7, momentum=0.9, nesterov=True)
PAIRS = {
    "proximal": (
        prox_optax.proximal(0.3, 4, before=ADAM),
        optax.chain(prox_optax.proximal(0.3, 4), ADAM),
    ),
    "decoupled_proximal": (
        prox_optax.decoupled_proximal(0.3, 4, learning_rate=RATE, behind=ADAM),
        optax.chain(ADAM, prox_optax.decoupled_proximal(0.3, 4, learning_rate=RATE)),
    ),
    "outer": (
        prox_optax.outer(OUTSIDE, 3, behind=ADAM),
        optax.chain(ADAM, prox_optax.outer(OUTSIDE, 3)),
    ),
}


def trained(tx):
    """Return the parameters and the state after seven updates."""
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}

    def step(carry, x):
        params, state = carry
        grads = jax.tree.map(lambda w: w * x, params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(
        step, (params, tx.init(params)), jnp.arange(1.0, 8)
    )
    return params, state


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_chain(name):
    ours, chain = map(trained, PAIRS[name])
    chex.assert_trees_all_equal(ours, chain)


def test_in_the_other_order_the_pull_pushes():
    """What the arguments are there to prevent: the distance doubles with each step."""
    pushed = optax.chain(optax.sgd(0.1), prox_optax.proximal(0.5, period=None))
    pulled = prox_optax.proximal(0.5, period=None, before=optax.sgd(0.1))
    ends = []
    for tx in pushed, pulled:
        params: Any = jnp.array(0.0)
        state = tx.init(params)
        for _ in range(30):
            updates, state = tx.update(jnp.array(1.0), state, params)
            params = optax.apply_updates(params, updates)
        ends.append(float(params))
    assert ends[0] == pytest.approx(-0.1 * (2**30 - 1), rel=1e-6)
    assert ends[1] == pytest.approx(-(1 - 0.9**30), rel=1e-6)


def test_under_injected_hyperparams():
    make = optax.inject_hyperparams(prox_optax.proximal)
    tx = make(strength=0.3, period=4, before=ADAM)
    (ours, _), (chain, _) = trained(tx), trained(PAIRS["proximal"][1])
    chex.assert_trees_all_equal(ours, chain)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x: prox_optax.proximal(0.1, before=x), "before"),
        (lambda x: prox_optax.decoupled_proximal(0.1, behind=x), "behind"),
        (lambda x: prox_optax.outer(OUTSIDE, 3, behind=x), "behind"),
    ],
)
@pytest.mark.parametrize("value", [1e-3, optax.adam, "adam"])
def test_no_optimizer(make, name, value):
    message = rf"{name} must be an optax transformation.*write.*{name}=optax.adam\(1e-3"
    with pytest.raises(TypeError, match=message):
        make(value)


@pytest.mark.parametrize("make", [prox_optax.proximal, prox_optax.decoupled_proximal])
def test_an_optimizer_in_the_place_of_a_strength(make):
    with pytest.raises(TypeError, match=r"got an optimizer; write proximal.*before="):
        make(optax.adam(1e-3))
