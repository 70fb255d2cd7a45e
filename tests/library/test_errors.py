"""Bad input: an error as early as possible that says what to write instead."""

import functools
import math
from collections import OrderedDict
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import prox_optax

PULLS = [prox_optax.proximal, prox_optax.decoupled_proximal]
ALIASES = [
    functools.partial(alias, 0.1)
    for alias in (
        prox_optax.trsgd,
        prox_optax.tradam,
        prox_optax.trsgdw,
        prox_optax.tradamw,
    )
]


def outer(period=3):
    return prox_optax.outer(optax.sgd(0.7), period)


PARAMS = {"dense": {"bias": jnp.ones(3), "kernel": jnp.ones((2, 3))}}
NOT_FINITE_OR_NEGATIVE = [-0.1, math.nan, math.inf, np.float32(-1), np.array(np.nan)]


@pytest.mark.parametrize("weight", NOT_FINITE_OR_NEGATIVE)
def test_weight_out_of_range(weight):
    hint = "must be finite and not negative.*write a number"
    with pytest.raises(ValueError, match=f"strength {hint}"):
        prox_optax.proximal(weight)
    with pytest.raises(ValueError, match=rf"strength\['a'\] {hint}"):
        prox_optax.proximal({"a": weight})
    with pytest.raises(ValueError, match=f"lambda_w {hint}"):
        prox_optax.decoupled_proximal(weight)
    for alias in ALIASES:
        with pytest.raises(ValueError, match=f"lambda_w {hint}"):
            alias(lambda_w=weight)


@pytest.mark.parametrize("weight", ["0.1", True, 1j, np.array([True]), Fraction(1)])
def test_weight_of_another_type(weight):
    with pytest.raises(TypeError, match=r"strength must be a real number.*write"):
        prox_optax.proximal(weight)
    for make in [prox_optax.decoupled_proximal, *(_with_lambda_w(a) for a in ALIASES)]:
        with pytest.raises(TypeError, match=r"lambda_w must be a real number.*write"):
            make(weight)


def _with_lambda_w(alias):
    return lambda weight: alias(lambda_w=weight)


def test_weight_none():
    with pytest.raises(TypeError, match=r"strength must be .*write strength=0\.0"):
        prox_optax.proximal(None)
    with pytest.raises(TypeError, match=r"lambda_w must be .*write lambda_w=0\.0"):
        prox_optax.trsgdw(0.1, lambda_w=None)


@pytest.mark.parametrize(
    "make", [*PULLS, *ALIASES, functools.partial(prox_optax.inner_decay, 0.1), outer]
)
def test_period(make):
    for period in (0, -3, np.int64(0), np.array(-1), 2**31):
        with pytest.raises(ValueError, match=r"period must be at least 1.*period=.0"):
            make(period=period)
    for period in (2.5, 10.0, "10", True, np.array([3]), np.float32(3), jnp.ones(())):
        with pytest.raises(TypeError, match=r"period must be .*integer.*period=.0"):
            make(period=period)


def test_inner_decay_needs_a_period_and_a_rate():
    for period, error in ((None, TypeError), (0, ValueError)):
        with pytest.raises(error, match=r"whole number of steps such as period=10\.$"):
            prox_optax.inner_decay(0.1, period=period)
    with pytest.raises(TypeError, match="learning_rate must be a real number"):
        prox_optax.inner_decay("0.1")


@pytest.mark.parametrize("make", PULLS)
def test_anchor_step(make):
    for anchor_step in (0, 0.0, 1.5, -0.1, math.nan, 1e-50):
        with pytest.raises(ValueError, match=r"anchor_step must lie in \(0, 1\].*1\.0"):
            make(anchor_step=anchor_step)
    with pytest.raises(TypeError, match="anchor_step must be a real number"):
        make(anchor_step="1")
    with pytest.raises(TypeError, match="anchor_step must be one number, got shape"):
        make(anchor_step=np.array([0.5, 0.5]))


@pytest.mark.parametrize("make", PULLS + ALIASES)
def test_anchor_dtype(make):
    for dtype in (jnp.int8, "foo", 3.0):
        with pytest.raises(TypeError, match="anchor_dtype must be a floating dtype"):
            make(anchor_dtype=dtype)
    for dtype, params in ((jnp.bfloat16, jnp.ones(2, complex)), (complex, jnp.ones(2))):
        with pytest.raises(TypeError, match=r"\['z'\] has dtype .* both complex"):
            make(anchor_dtype=dtype).init({"z": params})
    with pytest.warns(UserWarning, match=r"bfloat16 is less precise .* float32"):
        make(anchor_dtype=jnp.bfloat16).init(PARAMS)
    make(anchor_dtype=jnp.float32).init(jax.tree.map(jnp.bfloat16, PARAMS))


def test_anchor_dtype_taken_for_a_schedule():
    injected = optax.inject_hyperparams(prox_optax.trsgd)
    with pytest.raises(TypeError, match="inject_hyperparams took the dtype for a sche"):
        injected(0.1, anchor_dtype=jnp.bfloat16).init(PARAMS)
    with pytest.warns(UserWarning, match="less precise"):
        injected(0.1, anchor_dtype="bfloat16").init(PARAMS)


@pytest.mark.parametrize("make", PULLS)
def test_moves_too_small_for_the_anchor(make):
    low = jax.tree.map(jnp.bfloat16, PARAMS)
    with pytest.warns(UserWarning, match=r"small moves of anchor_step=0\.01; write"):
        make(period=1, anchor_step=0.01).init(low)
    make(period=1, anchor_step=0.01, anchor_dtype="float32").init(low)


@pytest.mark.parametrize("alias", ALIASES)
def test_learning_rate(alias):
    for rate in (-0.1, math.nan):
        with pytest.raises(ValueError, match="learning_rate must be finite"):
            alias.func(rate)
    for rate in (None, "0.1", np.ones(2)):
        with pytest.raises(TypeError, match="learning_rate must be "):
            alias.func(rate)


@pytest.mark.parametrize("alias", ALIASES[:2])
def test_learning_rate_that_starts_at_0(alias):
    warmup = optax.linear_schedule(0.0, 0.1, 5)
    error = "starts at 0; give it, for example lambda_w="
    with pytest.raises(ValueError, match=error):
        alias.func(warmup)
    with pytest.raises(ValueError, match=error):
        jax.jit(lambda w: alias.func(warmup).init(w))(1.0)
    alias.func(warmup, lambda_w=0.01)


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({"dense": {"bias": 0.1}}, r"leaf \['dense'\]\['kernel'\] is missing"),
        (
            {"dense": {"bias": 0.1, "kernel": 0.1, "scale": 0.1}},
            r"leaf \['dense'\]\['scale'\] is extra",
        ),
        (
            {"dense": {"bias": 0.1, "kernel": np.ones(2)}},
            r"\['dense'\]\['kernel'\] has shape \(2,\).*\(2, 3\)",
        ),
        (
            {"dense": {"bias": 0.1, "kernel": {"left": 0.1, "right": 0.2}}},
            r"structure of params, but it goes deeper, to \['dense'\]\['kernel'\]"
            r"\['left'\], where \['dense'\]\['kernel'\] is a single array; give each "
            "leaf of params a number",
        ),
        (np.ones(3), r"leaf \['dense'\]\['bias'\] is missing"),
        ({}, r"leaf \['dense'\]\['bias'\] is missing"),
    ],
)
def test_weights_that_do_not_fit(weights, error):
    for weights_or_schedule in (weights, lambda t: weights):
        with pytest.raises(ValueError, match=f"strength.*{error}"):
            prox_optax.proximal(weights_or_schedule).init(PARAMS)
        with pytest.raises(ValueError, match=f"lambda_w.*{error}"):
            prox_optax.decoupled_proximal(weights_or_schedule).init(PARAMS)
        for alias in ALIASES:
            with pytest.raises(ValueError, match=f"lambda_w.*{error}"):
                alias(lambda_w=weights_or_schedule).init(PARAMS)


def test_weights_deeper_than_params_that_are_one_array():
    error = r"goes deeper, to \['w'\], where the whole is a single array"
    with pytest.raises(ValueError, match=error):
        prox_optax.proximal({"w": 0.1}).init(jnp.ones(3))


@pytest.mark.parametrize("make", [*PULLS, *ALIASES, outer])
def test_integer_params(make):
    with pytest.raises(
        TypeError, match=r"params\['n'\] has dtype int32.*optax\.masked"
    ):
        make().init({"n": jnp.arange(3), "w": jnp.ones(3)})


@pytest.mark.parametrize("make", [*PULLS, *ALIASES, outer])
def test_missing_params(make):
    tx = make()
    with pytest.raises(ValueError, match=r"needs the current params: call update\("):
        tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize("make", [*PULLS, *ALIASES, outer])
@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"dense": {"bias": jnp.ones(3)}}, r"leaf \['dense'\]\['kernel'\] is missing"),
        (
            {"dense": {"bias": jnp.ones(3), "kernel": jnp.ones((2, 4))}},
            r"leaf \['dense'\]\['kernel'\] has shape \(2, 4\), the anchor \(2, 3\)",
        ),
        (jnp.ones(3), r"leaf \['dense'\]\['bias'\] is missing"),
        (
            {"dense": {"bias": {"left": jnp.ones(3)}, "kernel": jnp.ones((2, 3))}},
            r"goes deeper, to \['dense'\]\['bias'\]\['left'\], where "
            r"\['dense'\]\['bias'\] is a single array; give a tree",
        ),
    ],
)
def test_params_of_another_model(make, params, error):
    aliased = isinstance(make, functools.partial)
    tx = make(weight_decay=0.1) if aliased else make()
    with pytest.raises(ValueError, match=error):
        tx.update(params, tx.init(PARAMS), params)


@pytest.mark.parametrize("make", [*PULLS, outer])
def test_update_of_another_shape_is_not_broadcast(make):
    tx = make()
    updates = {"dense": {"bias": jnp.ones(1), "kernel": jnp.ones((2, 3))}}
    error = r"leaf \['dense'\]\['bias'\] has shape \(1,\), its parameter \(3,\); pass"
    with pytest.raises(ValueError, match=error):
        tx.update(updates, tx.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=r"leaf \(a single array\) has shape"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(3)), jnp.ones(3))


@pytest.mark.parametrize("make", [*PULLS, outer])
def test_leaves_are_named_for_an_error_alone(make, monkeypatch):
    """To find a name goes through the whole tree: for each leaf it is a square."""

    def named(tree, index):
        raise AssertionError("a leaf of a good update was named")

    monkeypatch.setattr(prox_optax._tree_checks, "leaf_at", named)
    tx = make()
    tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("make", [*PULLS, outer])
@pytest.mark.parametrize("dtypes", [("int32", "float32"), ("float32", "complex64")])
def test_update_that_cannot_hold_the_pull(make, dtypes):
    """As an integer the pull would be 0, as a real number it would lose a part."""
    update, params = (jnp.ones(3, dtype) for dtype in dtypes)
    tx = make()
    error = f"has dtype {dtypes[0]}, which cannot hold .* of {dtypes[1]}; pass"
    with pytest.raises(TypeError, match=error):
        tx.update({"w": update}, tx.init({"w": params}), {"w": params})


def test_leaves_in_another_order_are_not_swapped():
    tx = prox_optax.proximal(period=None)
    state = tx.init(OrderedDict(b=jnp.zeros(2), a=jnp.zeros(2)))
    state = prox_optax.set_anchor(state, {"a": jnp.ones(2), "b": jnp.zeros(2)})
    assert list(state.anchor) == ["b", "a"]
    chex.assert_trees_all_equal(
        dict(state.anchor), {"a": jnp.ones(2), "b": jnp.zeros(2)}
    )


def test_period_in_the_place_of_b2():
    with pytest.raises(ValueError, match=r"b2 must .*period are given by name"):
        prox_optax.tradam(1e-3, 0.1, 10)


@pytest.mark.parametrize(
    "take",
    [prox_optax.set_anchor, prox_optax.get_anchor, prox_optax.anchor_distance],
)
def test_swapped_arguments(take):
    state = prox_optax.tradam(0.1).init(PARAMS)
    with pytest.raises(ValueError, match=r"swapped: the first is the optimizer's st"):
        take(PARAMS, state)


def test_set_anchor_of_several_runs():
    """One model for the states of four runs: vmap says that each gets it."""
    params = jnp.ones(3)
    states = jax.vmap(prox_optax.tradam(0.1).init)(jnp.ones((4, 3)))
    with pytest.raises(ValueError, match=r"one of several runs: put this .* jax\.vmap"):
        prox_optax.set_anchor(states, params)
    states = jax.vmap(prox_optax.set_anchor, (0, None))(states, 2 * params)
    np.testing.assert_array_equal(states[0].anchor, jnp.full((4, 3), 2.0))


def test_set_anchor_without_anchor():
    with pytest.raises(ValueError, match="holds no anchor; build the optimizer with"):
        prox_optax.set_anchor(optax.adam(0.1).init(PARAMS), PARAMS)


@pytest.mark.parametrize("make", [*PULLS, *ALIASES, outer])
@pytest.mark.parametrize("saved", [optax.adam(0.1), optax.sgd(0.1), optax.sgd(1, 0.9)])
def test_state_of_an_optimizer_without_an_anchor(make, saved):
    state = saved.init(PARAMS)
    with pytest.raises(
        ValueError, match=r"without an anchor; .*prox_optax\.carry_over"
    ):
        make().update(PARAMS, state, PARAMS)


@pytest.mark.parametrize("make", [*PULLS, outer])
def test_updates_of_another_model(make):
    kernel = {"dense": {"kernel": jnp.ones((2, 3))}}
    with pytest.raises(ValueError, match=r"updates do not fit.*'bias'\] is missing"):
        make().update(kernel, make().init(PARAMS), PARAMS)


def test_set_anchor_to_nothing():
    state = prox_optax.proximal().init(PARAMS)
    with pytest.raises(ValueError, match="needs the params to pull towards, got None"):
        prox_optax.set_anchor(state, None)


def test_set_anchor_of_another_model():
    state = optax.chain(optax.adam(0.1), prox_optax.proximal()).init(PARAMS)
    with pytest.raises(ValueError, match=r"leaf \['dense'\]\['bias'\] is missing"):
        prox_optax.set_anchor(state, {"dense": {"kernel": jnp.ones((2, 3))}})
    with pytest.raises(ValueError, match=r"leaf \['dense'\]\['kernel'\] has shape"):
        prox_optax.set_anchor(
            state, {"dense": {"bias": jnp.ones(3), "kernel": jnp.ones((3, 2))}}
        )


def test_rescale_b2():
    with pytest.raises(ValueError, match=r"b2 must lie in \[0, 1\).*b2=0\.999"):
        prox_optax.rescale_b2(1.0, 8, 512)
    with pytest.raises(ValueError, match="reference_batch_size must be positive"):
        prox_optax.rescale_b2(0.999, 8, 0)
    with pytest.raises(TypeError, match="batch_size must be a real number"):
        prox_optax.rescale_b2(0.999, "8", 512)
    found = prox_optax.rescale_b2(jnp.bfloat16(0.95), 1, 512)  # 1 in bfloat16
    np.testing.assert_allclose(found, float(jnp.bfloat16(0.95)) ** (1 / 512), rtol=1e-6)
