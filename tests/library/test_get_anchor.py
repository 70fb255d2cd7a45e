"""The one way to read the anchor, and names for several."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_contract import FACTORIES, gradient, make, params_of, step

import prox_optax

TWO = optax.named_chain(
    ("near", prox_optax.proximal(0.1, period=2)),
    ("far", prox_optax.proximal(0.1, period=None)),
    ("sgd", optax.sgd(0.1)),
)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    "anchor_dtype",
    [
        None,
        "int16",
        pytest.param("bfloat16", marks=pytest.mark.filterwarnings("ignore")),
    ],
)
def test_it_is_where_the_period_began(name, anchor_dtype):
    tx, a = make(name, anchor_dtype=anchor_dtype), params_of()
    w, state = step(tx, a, tx.init(a))
    anchor = prox_optax.get_anchor(state, w)
    dtype = jnp.bfloat16 if anchor_dtype == "bfloat16" else jnp.float32
    assert {x.dtype for x in jax.tree.leaves(anchor)} == {jnp.dtype(dtype)}
    # int16: to a unit, the largest weight over 2**14; bfloat16: to 2**-8 of each.
    atol = {None: 0, "int16": 4.0 / 2**14, "bfloat16": 4.0 / 2**8}[anchor_dtype]
    chex.assert_trees_all_close(jax.tree.map(jnp.float32, anchor), a, rtol=0, atol=atol)
    chex.assert_trees_all_equal(jax.jit(prox_optax.get_anchor)(state, w), anchor)


def test_it_is_a_copy_that_outlives_the_state():
    tx, w = make("proximal"), params_of()
    state = tx.init(w)
    anchor = prox_optax.get_anchor(state, w)
    jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(state)
    chex.assert_trees_all_equal(anchor, w)


def test_under_jit_nothing_is_copied():
    tx, w = make("proximal"), {"w": jnp.ones((256, 256))}
    state = tx.init(w)
    traced = jax.make_jaxpr(prox_optax.get_anchor)(state, w)
    assert not traced.eqns


def test_leaves_without_an_anchor():
    w = params_of()
    tx = optax.masked(make("trsgd"), {"bias": True, "kernel": False})
    anchor = prox_optax.get_anchor(tx.init(w), w)
    chex.assert_trees_all_equal(anchor["bias"], w["bias"])
    assert isinstance(anchor["kernel"], optax.MaskedNode)
    parts = {"a": make("proximal"), "b": make("trsgdw")}
    tx = optax.partition(parts, {"bias": "a", "kernel": "b"})
    chex.assert_trees_all_equal(prox_optax.get_anchor(tx.init(w), w), w)


def test_of_many_states():
    w = jax.tree.map(lambda x: jnp.stack([x, x + 1]), params_of())
    states = jax.vmap(make("proximal").init)(w)
    chex.assert_trees_all_equal(jax.vmap(prox_optax.get_anchor)(states, w), w)


def two_anchors():
    w = params_of()
    later, state = step(TWO, w, TWO.init(w))
    state = prox_optax.set_anchor(state, jax.tree.map(jnp.zeros_like, w), name="far")
    return w, later, state


def test_a_name_tells_one_of_several():
    w, later, state = two_anchors()
    chex.assert_trees_all_equal(prox_optax.get_anchor(state, later, name="near"), w)
    far = prox_optax.get_anchor(state, later, name="far")
    chex.assert_trees_all_equal(far, jax.tree.map(jnp.zeros_like, w))
    norm = float(optax.tree.norm(later))
    distance = prox_optax.anchor_distance(state, later, name="far")
    np.testing.assert_allclose(distance.norm, norm, rtol=1e-6)
    ratio = prox_optax.pull_ratio(state, later, gradient(w), 0.1, name="far")
    expected = 0.2 * norm / float(optax.tree.norm(gradient(w)))
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)
    every = prox_optax.set_anchor(state, later)
    for name in ("near", "far"):
        assert float(prox_optax.anchor_distance(every, later, name=name).norm) == 0


def test_a_path_is_a_name():
    w = params_of()
    tx = optax.chain(make("proximal"), optax.chain(optax.sgd(0.1), make("trsgdw")))
    goal = jax.tree.map(jnp.zeros_like, w)
    for name in ("[1]", "[1][1]", "[1][1][2]"):
        state = prox_optax.set_anchor(tx.init(w), goal, name=name)
        chex.assert_trees_all_equal(prox_optax.get_anchor(state, w, name=name), goal)
        chex.assert_trees_all_equal(prox_optax.get_anchor(state, w, name="[0]"), w)


@pytest.mark.parametrize("read", [prox_optax.get_anchor, prox_optax.anchor_distance])
def test_several_without_a_name(read):
    w, later, state = two_anchors()
    with pytest.raises(ValueError, match=r"\['bias'\] has two.*name='near' or.*'far'"):
        read(state, later)
    with pytest.raises(ValueError, match="called 'base'; there is: 'near', 'far'"):
        read(state, later, name="base")
    with pytest.raises(ValueError, match="called 'base'; there is: 'near', 'far'"):
        prox_optax.set_anchor(state, later, name="base")
    tx = optax.chain(make("proximal"), make("trsgd"))
    with pytest.raises(ValueError, match=r"name='\[0\]' or name='\[1\]\[0\]'"):
        read(tx.init(w), w)


def test_errors():
    w = params_of()
    with pytest.raises(ValueError, match="holds no anchor"):
        prox_optax.get_anchor(optax.adam(0.1).init(w), w)
    with pytest.raises(ValueError, match="needs the current params: got None"):
        prox_optax.get_anchor(make("proximal").init(w), None)
