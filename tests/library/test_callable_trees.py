"""A tree that can be called is a tree: only a callable leaf is a schedule.

Neural network modules (Equinox, Flax NNX) are trees and callable at once. Oracle: the
pulls, written out by hand for one weight; the same numbers in a plain dict for trees.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_contract import ALIASES, WEIGHTED, make, weight_name

import prox_optax
from prox_optax._validation import is_schedule


@jax.tree_util.register_pytree_node_class
class Scale:
    """One number, called as a network would be, or as a schedule."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * x

    def tree_flatten(self):
        return (self.factor,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["w", "b"], meta_fields=[]
)
class Linear:
    """Two arrays, and a forward pass that cannot take a step."""

    def __init__(self, w, b):
        self.w, self.b = w, b

    def __call__(self, x):
        return self.w @ x + self.b


WEIGHTS = Linear(np.full((2, 3), 0.1), 0.2)
PARAMS = Linear(jnp.arange(6.0).reshape(2, 3), jnp.ones(2))


def plain(linear):
    return {"w": linear.w, "b": linear.b}


def three_updates(tx, params, moved, gradient):
    """Return the updates of three steps at ``moved`` by one begun at ``params``."""
    state, updates = tx.init(params), []
    for _ in range(3):
        u, state = tx.update(gradient, state, moved)
        updates.append(u)
    return updates


def test_what_a_schedule_is():
    for schedule in (
        lambda t: t,
        optax.cosine_decay_schedule(0.1, 10),
        functools.partial(jnp.multiply, 2.0),
        jax.tree_util.Partial(jnp.multiply, 2.0),
        jax.jit(lambda t: 2.0 * t),
        prox_optax.inner_decay(0.1),
    ):
        assert is_schedule(schedule)
    for other in (Scale(5.0), WEIGHTS, 0.1, np.ones(2), jnp.ones(()), {"w": 0.1}, None):
        assert not is_schedule(other)


def test_coupled_pull():
    """2 * 5 * (2 - 1) on each step, not 5 * t as the call would give."""
    tx = prox_optax.proximal(Scale(5.0), period=None)
    updates = three_updates(tx, Scale(1.0), Scale(2.0), Scale(0.0))
    assert [float(u.factor) for u in updates] == [10.0, 10.0, 10.0]


def test_decoupled_pull():
    """R = 2 * 0.5 = 1: half of the way from 2 to the anchor at 1."""
    tx = prox_optax.decoupled_proximal(Scale(0.5), period=None)
    updates = three_updates(tx, Scale(1.0), Scale(2.0), Scale(0.0))
    assert [float(u.factor) for u in updates] == [-0.5, -0.5, -0.5]


def test_aliases_of_sgd():
    """By hand: -eta * 2 * (lambda_w / eta) * 1, and r / (1 + r) of the way back."""
    updates = {
        name: three_updates(
            make(name, lambda_w=Scale(0.5), period=None),
            Scale(jnp.float32(1.0)),
            Scale(jnp.float32(2.0)),
            Scale(jnp.float32(0.0)),
        )
        for name in ("trsgd", "trsgdw")
    }
    np.testing.assert_allclose([u.factor for u in updates["trsgd"]], -1.0, rtol=1e-6)
    np.testing.assert_allclose([u.factor for u in updates["trsgdw"]], -0.5, rtol=1e-6)


@pytest.mark.parametrize("period", [None, 2])
@pytest.mark.parametrize("name", WEIGHTED)
def test_tree_of_arrays(name, period):
    """As the same numbers in a dict; the forward pass is not called."""
    moved = jax.tree.map(lambda x: x + 1, PARAMS)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    given = three_updates(
        make(name, **{weight_name(name): WEIGHTS}, period=period), PARAMS, moved, zero
    )
    wanted = three_updates(
        make(name, **{weight_name(name): plain(WEIGHTS)}, period=period),
        *map(plain, (PARAMS, moved, zero)),
    )
    chex.assert_trees_all_equal(list(map(plain, given)), wanted)


def test_tree_of_a_schedule():
    """A schedule may return a callable tree: 2 * (5 + t) * (2 - 1)."""
    tx = prox_optax.proximal(lambda t: Scale(5.0 + t), period=None)
    updates = three_updates(tx, Scale(1.0), Scale(2.0), Scale(0.0))
    assert [float(u.factor) for u in updates] == [10.0, 12.0, 14.0]


def test_partial_is_a_schedule():
    """2 * (5 t) * (2 - 1) and 2 * 0.5 t / 0.1 * 0.1 in the step of SGD."""
    tx = prox_optax.proximal(jax.tree_util.Partial(jnp.multiply, 5.0), period=None)
    updates = three_updates(tx, jnp.ones(()), jnp.full((), 2.0), jnp.zeros(()))
    assert list(map(float, updates)) == [0.0, 10.0, 20.0]
    rate = jax.tree_util.Partial(jnp.add, 0.1)
    lambda_w = jax.tree_util.Partial(jnp.multiply, 0.5)
    tx = prox_optax.trsgd(rate, lambda_w=lambda_w, period=None)
    updates = three_updates(tx, jnp.ones(()), jnp.full((), 2.0), jnp.zeros(()))
    np.testing.assert_allclose(updates, [0.0, -1.0, -2.0], rtol=1e-6)


def test_inner_decay():
    schedule = prox_optax.inner_decay(Scale(0.6), period=3)
    assert [round(schedule(t).factor, 3) for t in range(4)] == [0.6, 0.3, 0.2, 0.6]


def test_pull_ratio():
    """2 * 5 * (2 - 1) over a gradient of 4."""
    state = prox_optax.proximal(Scale(5.0), period=None).init(Scale(jnp.ones(())))
    ratio = prox_optax.pull_ratio(state, Scale(2.0), Scale(jnp.full((), 4.0)), Scale(5))
    assert float(ratio) == 2.5


@pytest.mark.parametrize("name", ALIASES)
def test_rates_take_no_tree(name):
    with pytest.raises(TypeError, match=r"learning_rate must be .*Scale"):
        make(name, learning_rate=Scale(0.1))
