"""Outside ``jit``: nothing is compiled anew, no NaN is made, Python numbers are params.

A compilation is what XLA reports as one, counted by JAX's own monitoring.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_contract import (
    FACTORIES,
    abstract_init,
    make,
    params_of,
    proximal_states,
    step,
    weight_name,
)

import prox_optax

COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, _, **__: COMPILED.append(name)
)


def compilations():
    return COMPILED.count("/jax/core/compile/backend_compile_duration")


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("anchor_dtype", [None, "int16"])
@pytest.mark.parametrize("weight", ["number", "schedule"])
def test_no_compilation_after_the_second_update(name, anchor_dtype, weight):
    kwargs = {} if weight == "number" else {weight_name(name): lambda t: 0.1 / (t + 1)}
    tx, w = make(name, anchor_dtype=anchor_dtype, **kwargs), params_of()
    state = tx.init(w)
    for number in range(5):
        before = compilations()
        w, state = step(tx, w, state)
        prox_optax.anchor_distance(state, w)
        prox_optax.get_anchor(state, w)
        if number >= 2:
            assert compilations() == before


def test_no_compilation_for_a_fraction_of_the_way():
    tx, w = prox_optax.proximal(period=2, anchor_step=0.5), params_of()
    state = tx.init(w)
    for number in range(5):
        before = compilations()
        w, state = step(tx, w, state)
        if number >= 2:
            assert compilations() == before


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("committed", [False, True])
def test_rounds_compile_a_step_once(name, committed):
    """A copy of ``set_anchor`` lies where the old anchor lay, committed or not."""
    tx, w = make(name), params_of()
    if committed:
        w = jax.device_put(w, jax.devices()[0])
    compiled = jax.jit(lambda w, state: step(tx, w, state))
    state = tx.init(w)
    for number in range(4):
        state = prox_optax.set_anchor(state, w)
        before = compilations()
        w, state = compiled(w, state)
        # committed: the step of the counter is committed from the first update on
        if number >= 1 + committed:
            assert compilations() == before


def test_a_committed_model_leaves_an_uncommitted_anchor_so():
    tx, w = make("proximal"), params_of()
    state = prox_optax.set_anchor(tx.init(w), jax.device_put(w, jax.devices()[0]))
    assert not any(a.committed for a in jax.tree.leaves(state))


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("anchor_dtype", [None, "int16"])
def test_python_numbers_are_params(name, anchor_dtype):
    """The same as with arrays of shape ()."""
    tx = make(name, anchor_dtype=anchor_dtype)
    found = []
    for w in ({"a": 1.0, "b": 0.5}, {"a": jnp.float32(1), "b": jnp.float32(0.5)}):
        state = tx.init(w)
        for _ in range(4):
            grads = {"a": w["a"] + 1, "b": 2 * w["b"]}
            updates, state = tx.update(grads, state, w)
            w = optax.apply_updates(w, updates)
            distance = prox_optax.anchor_distance(state, w)
        found.append([w["a"], w["b"], distance.norm])
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    "anchor_dtype",
    [
        None,
        "int16",
        pytest.param("bfloat16", marks=pytest.mark.filterwarnings("ignore")),
    ],
)
def test_healthy_params_make_no_nan(name, anchor_dtype):
    tx = make(name, anchor_dtype=anchor_dtype)
    with jax.debug_nans(True):
        for init in (tx.init, partial(abstract_init, tx)):
            w, state = params_of(), init(params_of())
            for _ in range(3):
                w, state = step(tx, w, state)
            prox_optax.anchor_distance(state, w)
        jax.jit(lambda: tx.init(jax.eval_shape(params_of)))()


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("anchor_dtype", [None, "int16"])
def test_healthy_params_compute_no_infinity(name, anchor_dtype):
    """The mark of an anchor that is not taken yet is put there, not computed."""
    tx = make(name, anchor_dtype=anchor_dtype)
    with jax.debug_infs(True):
        for init in (tx.init, partial(abstract_init, tx)):
            w, state = step(tx, params_of(), init(params_of()))
            prox_optax.anchor_distance(state, w)


def test_units_once_marked_by_nan_still_load():
    """An abstract init marked its units so before."""
    tx, w = make("proximal", anchor_dtype="int16"), params_of()
    fresh = tx.init(jax.eval_shape(params_of))
    old = fresh._replace(unit=jnp.full_like(fresh.unit, jnp.nan))
    expected = step(tx, w, tx.init(w))
    for state in (fresh, old):
        (ours,) = proximal_states(step(tx, w, state)[1])
        np.testing.assert_array_equal(ours.unit, expected[1].unit)


def test_anchors_once_marked_by_nan_still_load():
    tx, w = make("proximal", anchor_step=0.5), params_of()
    state = tx.init(w)
    old = state._replace(anchor=jax.tree.map(lambda a: a * jnp.nan, state.anchor))
    np.testing.assert_array_equal(step(tx, w, old)[1].anchor["bias"], w["bias"])


def test_set_anchor_refuses_nan():
    tx, w = make("proximal"), params_of()
    bad = {**w, "bias": w["bias"].at[1].set(jnp.nan)}
    with pytest.raises(ValueError, match=r"set_anchor .*\['bias'\].*NaN"):
        prox_optax.set_anchor(tx.init(w), bad)
    jax.jit(prox_optax.set_anchor)(tx.init(w), bad)  # there no value is known


def test_float8_params():
    for name in FACTORIES:
        with pytest.raises(TypeError, match=r"params\['w'\] has dtype float8_e4m3fn"):
            make(name).init({"w": jnp.ones(2, jnp.float8_e4m3fn)})
