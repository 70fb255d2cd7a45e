"""A run saved with plain optax goes on with an anchor."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_checkpoint import restore, save
from test_contract import (
    PERIOD,
    gradient,
    make,
    params_of,
    proximal_states,
    step,
    train,
)

import prox_optax

SAVED = PERIOD + 2  # in the middle of a period


def rate(t):
    return 0.1 / (t + 1)


@pytest.mark.parametrize("base", [optax.adam, lambda r: optax.sgd(r, 0.9)])
def test_as_if_the_anchor_had_been_there_all_along(base):
    """With a strength of 0 up to the switch: bit for bit, its schedule included."""

    def strength(t):
        return jnp.where(t < SAVED, 0.0, 0.1 + 0.1 * t)

    with_anchor = optax.chain(prox_optax.proximal(strength, PERIOD), base(rate))
    w, state = train(with_anchor, params_of(), SAVED)
    state = (state[0]._replace(anchor=w), *state[1:])
    expected = train(with_anchor, w, state=state)

    w, saved = train(base(rate), params_of(), SAVED)
    state = prox_optax.carry_over(
        (optax.EmptyState(), saved), with_anchor.init(w), SAVED
    )
    chex.assert_trees_all_equal(train(with_anchor, w, state=state), expected)
    assert int(proximal_states(state)[0].step) == SAVED


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "schedule"])
def test_period_and_inner_decay_go_on_together(constant):
    """Without pull TRAdam is Adam with steps divided by (t mod S) + 1."""
    learning_rate = 0.1 if constant else rate
    adam = optax.adam(learning_rate)
    tx = make("tradam", learning_rate=learning_rate, lambda_w=0.0)
    w, saved = train(adam, params_of(), SAVED)
    state = prox_optax.carry_over(saved, tx.init(w), SAVED)
    for t in range(SAVED, SAVED + 2 * PERIOD):
        expected, saved = adam.update(gradient(w), saved, w)
        (before,) = proximal_states(state)
        updates, state = tx.update(gradient(w), state, w)
        (after,) = proximal_states(state)
        chex.assert_trees_all_close(
            updates,
            jax.tree.map(lambda u, k=t % PERIOD: u / (k + 1), expected),
            rtol=1e-6,
        )
        moved = jnp.any(before.anchor["bias"] != after.anchor["bias"])
        assert bool(moved) == (t % PERIOD == 0)
        if constant:
            assert int(after.step) == (t + 1) % PERIOD
        assert int(state[-1].inner_step) == (t + 1) % PERIOD
        w = optax.apply_updates(w, updates)


@pytest.mark.parametrize("with_target", [True, False])
def test_from_an_orbax_checkpoint(with_target, tmp_path):
    adam, tradam = optax.adam(rate), make("tradam", learning_rate=rate, lambda_w=0.01)
    w, saved = train(adam, params_of(), SAVED)
    save(tmp_path / "checkpoint", (w, saved))
    target = jax.eval_shape(lambda: (w, saved)) if with_target else None
    w, saved = restore(tmp_path / "checkpoint", target)
    state = prox_optax.carry_over(saved, tradam.init(w), SAVED)
    assert jax.tree.structure(state) == jax.tree.structure(tradam.init(w))
    moments, count = jax.tree.leaves(saved)[:-1], jax.tree.leaves(saved)[-1]
    chex.assert_trees_all_equal(jax.tree.leaves(state[2][0]), moments)
    chex.assert_trees_all_equal(state[2][1].count, count)
    chex.assert_trees_all_equal(proximal_states(state)[0].anchor, w)
    train(tradam, w, state=state)


def test_there_and_back_is_bitwise():
    w, saved = train(optax.adam(0.1), params_of(), SAVED)
    for other in (make("tradam"), optax.chain(optax.clip(1.0), make("tradam"))):
        there = prox_optax.carry_over(saved, other.init(w), SAVED)
        back = prox_optax.carry_over(there, optax.adam(0.1).init(w), SAVED)
        chex.assert_trees_all_equal(back, saved)
        decoupled = make("tradamw").init(w)
        also_back = prox_optax.carry_over(there, decoupled, SAVED)
        chex.assert_trees_all_equal(also_back[0][0], saved[0])


def test_params_in_lists_keep_their_order():
    w = [jnp.ones(2), {"0": jnp.zeros(2)}, (jnp.full(2, 2.0), jnp.full(2, 3.0))]
    g = jax.tree.map(lambda x: x + 0.5, w)
    _, saved = optax.adam(0.1).update(g, optax.adam(0.1).init(w), w)
    state = prox_optax.carry_over(saved, make("tradam").init(w), 1)
    chex.assert_trees_all_equal(state[2], saved)


def test_wrappers_keep_their_own_state():
    w, saved = train(optax.MultiSteps(optax.adam(0.1), 2), params_of(), 3)
    tx = optax.MultiSteps(make("tradam"), 2)
    state = prox_optax.carry_over(saved, tx.init(w), step=1)
    assert int(state.mini_step) == 1
    chex.assert_trees_all_equal(state.acc_grads, saved.acc_grads)
    chex.assert_trees_all_equal(state.inner_opt_state[2], saved.inner_opt_state)
    assert int(proximal_states(state)[0].step) == 1


def test_nnx_optimizer():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    grads = jax.tree.map(gradient, nnx.state(model, nnx.Param))
    optimizer.update(model, grads)
    anchored = nnx.Optimizer(model, make("tradam"), wrt=nnx.Param)
    anchored.opt_state = prox_optax.carry_over(
        optimizer.opt_state, anchored.opt_state, optimizer.step[...]
    )
    moments = jax.tree.leaves(anchored.opt_state[2])
    chex.assert_trees_all_equal(moments, jax.tree.leaves(optimizer.opt_state))
    anchored.update(model, grads)
    assert int(proximal_states(anchored.opt_state)[0].step[...]) == 2


def test_lanes_and_an_anchor_set_before():
    lanes = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params_of())
    saved = jax.vmap(optax.adam(0.1).init)(lanes)
    new = prox_optax.set_anchor(jax.vmap(make("tradam").init)(lanes), lanes)
    state = jax.jit(prox_optax.carry_over)(saved, new, SAVED)
    np.testing.assert_array_equal(proximal_states(state)[0].step, [~SAVED] * 2)
    jax.vmap(lambda w, state: step(make("tradam"), w, state))(lanes, state)


@pytest.mark.parametrize(
    ("saved", "new", "error"),
    [
        (optax.adam(0.1), optax.adam(rate), r"nothing for new_state\[1\]\.count"),
        (optax.adam(rate), optax.adam(0.1), r"no place for saved_state\[1\]\.count"),
        (optax.sgd(0.1, 0.9), make("trsgd"), r"saved_state\[0\]\.trace\['bias'\]"),
        (optax.sgd(0.1), make("tradam"), r"nothing for new_state\[2\]\[0\]\.count"),
        (optax.adam(0.1, mu_dtype="bfloat16"), make("tradam"), r"bfloat16\[3\].*float"),
    ],
)
def test_trees_that_do_not_match(saved, new, error):
    with pytest.raises(ValueError, match=error + ".*build the new optimizer"):
        prox_optax.carry_over(saved.init(params_of()), new.init(params_of()), 0)


def test_other_params():
    saved = optax.adam(0.1).init(params_of())
    for other, error in (
        ({"bias": jnp.zeros(3)}, "no place for saved_state.*'kernel'"),
        ({**params_of(), "scale": jnp.zeros(3)}, "nothing for new_state.*'scale'"),
        ({**params_of(), "bias": jnp.zeros(4)}, r"float32\[3\], new_state.*float32\[4"),
    ):
        with pytest.raises(ValueError, match=error):
            prox_optax.carry_over(saved, make("tradam").init(other), 0)


def test_step_is_a_whole_number():
    state = make("tradam").init(params_of())
    for step_, error in ((1.0, TypeError), (True, TypeError), (-1, ValueError)):
        with pytest.raises(error, match=r"step must be .*number of updates"):
            prox_optax.carry_over(state, state, step_)
