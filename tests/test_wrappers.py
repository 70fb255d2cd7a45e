"""Inside optax's wrappers and JAX's transformations each public one does the same."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optax import contrib
from test_contract import (
    FACTORIES,
    PERIOD,
    STEPS,
    gradient,
    make,
    params_of,
    proximal_states,
    step,
    train,
)

import prox_optax

# Fusing the same float32 operations differently: a few units in the last place.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=FACTORIES)
def tx(request):
    return make(request.param)


def test_masked(tx):
    w = params_of()
    masked = optax.chain(
        optax.masked(tx, {"bias": True, "kernel": False}), optax.identity()
    )
    actual, state = train(masked, w)
    alone, _ = train(tx, {"bias": w["bias"]})
    chex.assert_trees_all_close(actual["bias"], alone["bias"], **ROUNDING)

    state = prox_optax.set_anchor(state, jax.tree.map(jnp.zeros_like, w))
    (ours,) = proximal_states(state)
    chex.assert_trees_all_equal(ours.anchor["bias"], jnp.zeros(3))
    assert len(jax.tree.leaves(ours.anchor)) == 1


def test_partition(tx):
    w = params_of()
    split = optax.partition(
        {"anchored": tx, "free": optax.sgd(0.1)},
        {"bias": "anchored", "kernel": "free"},
    )
    actual, state = train(split, w)
    expected = {
        "bias": train(tx, {"bias": w["bias"]})[0]["bias"],
        "kernel": train(optax.sgd(0.1), {"kernel": w["kernel"]})[0]["kernel"],
    }
    chex.assert_trees_all_close(actual, expected, **ROUNDING)
    goal = jax.tree.map(jnp.zeros_like, w)
    (ours,) = proximal_states(prox_optax.set_anchor(state, goal))
    chex.assert_trees_all_equal(ours.anchor["bias"], jnp.zeros(3))


def test_multi_steps_counts_updates(tx):
    """Around the whole optimizer a period counts updates, not micro-steps."""
    w = params_of()
    every_two = optax.MultiSteps(tx, every_k_schedule=2)
    update = jax.jit(every_two.update)
    state = every_two.init(w)
    for _ in range(STEPS):
        grads = gradient(w)
        for _ in range(2):
            updates, state = update(grads, state, w)
            w = optax.apply_updates(w, updates)
    chex.assert_trees_all_close(w, train(tx, params_of())[0], **ROUNDING)
    goal = jax.tree.map(jnp.zeros_like, w)
    (ours,) = proximal_states(prox_optax.set_anchor(state, goal))
    chex.assert_trees_all_equal(ours.anchor, goal)


def test_before_multi_steps_micro_steps_count():
    w = params_of()
    tx = optax.chain(
        prox_optax.proximal(period=4),
        optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2).gradient_transformation(),
    )
    state = tx.init(w)
    for micro_step in range(6):
        assert int(state[0].step) == micro_step % 4
        w, state = step(tx, w, state)


def test_apply_if_finite(tx):
    """A bad gradient changes neither params, nor anchor, nor counters."""
    safe = optax.apply_if_finite(tx, max_consecutive_errors=10)
    w, state = train(safe, params_of(), PERIOD + 1)
    bad = jax.tree.map(lambda x: x * jnp.nan, w)
    updates, after = safe.update(bad, state, w)
    chex.assert_trees_all_equal(optax.apply_updates(w, updates), w)
    chex.assert_trees_all_equal(after.inner_state, state.inner_state)


def test_flatten(tx):
    actual, state = train(optax.flatten(tx), params_of())
    chex.assert_trees_all_close(actual, train(tx, params_of())[0], **ROUNDING)
    with pytest.raises(ValueError, match="params do not fit the anchor"):
        prox_optax.set_anchor(state, actual)


def test_lookahead(tx):
    """Between two syncs the fast params move as the optimizer alone moves them."""
    w = optax.LookaheadParams.init_synced(params_of())
    ahead = optax.lookahead(tx, sync_period=STEPS, slow_step_size=0.5)
    state = ahead.init(w)
    for _ in range(STEPS - 1):
        updates, state = ahead.update(gradient(w.fast), state, w)
        w = optax.apply_updates(w, updates)
    expected, _ = train(tx, params_of(), STEPS - 1)
    chex.assert_trees_all_close(w.fast, expected, **ROUNDING)
    prox_optax.set_anchor(state, w.fast)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: contrib.schedule_free(tx, learning_rate=0.1),
        lambda tx: contrib.sam(tx, optax.sgd(0.05), sync_period=2),
    ],
    ids=["schedule_free", "sam"],
)
def test_contrib_wrappers(tx, wrap):
    wrapped = wrap(tx)
    w = params_of()
    state = wrapped.init(w)
    new_w, new_state = train(wrapped, w)
    chex.assert_trees_all_equal_shapes_and_dtypes((new_w, new_state), (w, state))
    chex.assert_tree_all_finite((new_w, new_state))
    assert any(jnp.any(new_w[leaf] != w[leaf]) for leaf in w)
    prox_optax.set_anchor(new_state, new_w)


def test_control_flow(tx):
    """``scan``, ``while_loop`` and ``cond`` carry the state; all agree."""
    w = params_of()
    start = (w, tx.init(w))
    expected, _ = train(tx, w)

    (scanned, _), _ = jax.lax.scan(
        lambda carry, _: (step(tx, *carry), None), start, length=STEPS
    )
    _, (looped, _) = jax.lax.while_loop(
        lambda c: c[0] < STEPS, lambda c: (c[0] + 1, step(tx, *c[1])), (0, start)
    )
    chosen = start
    for t in range(2 * STEPS):
        chosen = jax.lax.cond(t % 2 == 0, lambda c: step(tx, *c), lambda c: c, chosen)
    for actual in (scanned, looped, chosen[0]):
        chex.assert_trees_all_close(actual, expected, **ROUNDING)


def test_lanes(tx):
    """A vmapped init and update: lanes equal single runs."""
    lanes = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params_of())
    w, state = lanes, jax.vmap(tx.init)(lanes)
    update = jax.jit(jax.vmap(lambda w, state: step(tx, w, state)))
    for _ in range(STEPS):
        w, state = update(w, state)
    for i in range(3):
        alone, _ = train(tx, jax.tree.map(lambda x, i=i: x[i], lanes))
        lane = jax.tree.map(lambda x, i=i: x[i], w)
        chex.assert_trees_all_close(lane, alone, **ROUNDING)
    prox_optax.set_anchor(state, w)


@pytest.mark.parametrize("empty", [{}, (), {"a": {}}, None], ids=str)
def test_empty_trees(tx, empty):
    if empty is None:
        updates, _ = tx.update({"w": None}, tx.init({"w": None}), {"w": None})
        assert updates == {"w": None}
    else:
        updates, _ = jax.jit(tx.update)(empty, tx.init(empty), empty)
        assert updates == empty


def test_complex_params_are_pairs_of_real_ones():
    for name in ("proximal", "decoupled_proximal", "trsgd", "trsgdw"):
        tx = make(name)
        z = jnp.array([1.0 + 2.0j, -0.5 + 0.1j], jnp.complex64)
        as_complex = train(optax.chain(tx, optax.scale(-0.1)), z)[0]
        pair = jnp.stack([z.real, z.imag])

        def gradient_of(z):
            return (0.5 * z + jnp.sign(z)).astype(z.dtype)

        state = tx.init(pair)
        for _ in range(STEPS):
            g = gradient_of(pair[0] + 1j * pair[1])
            updates, state = tx.update(jnp.stack([g.real, g.imag]), state, pair)
            pair = pair - 0.1 * updates
        chex.assert_trees_all_close(as_complex, pair[0] + 1j * pair[1], **ROUNDING)


def test_set_anchor_pulls_the_next_update(tx):
    """Also where the anchor was due to move, and the phase stays as it was."""
    w = params_of()
    goal = jax.tree.map(lambda x: x + 1.0, w)
    for steps in range(PERIOD + 1):
        now, state = train(tx, w, steps)
        set_state = jax.jit(prox_optax.set_anchor)(state, goal)
        _, after = tx.update(gradient(now), set_state, now)
        (pulled,) = proximal_states(after)
        chex.assert_trees_all_equal(pulled.anchor, goal)
        _, usual = tx.update(gradient(now), state, now)
        assert pulled.step == proximal_states(usual)[0].step
        assert pulled.step >= 0
        chex.assert_trees_all_equal(prox_optax.set_anchor(set_state, goal), set_state)
    _, after = train(tx, now, 2 * PERIOD, set_state)
    assert jnp.any(proximal_states(after)[0].anchor["bias"] != goal["bias"])


def test_set_anchor_reaches_every_anchor():
    w = params_of()
    tx = optax.chain(prox_optax.proximal(), prox_optax.trsgd(0.1))
    goal = jax.tree.map(jnp.zeros_like, w)
    states = proximal_states(prox_optax.set_anchor(tx.init(w), goal))
    assert len(states) == 2
    for state in states:
        chex.assert_trees_all_equal(state.anchor, goal)


def test_set_anchor_keeps_the_dtype():
    w = params_of()
    with pytest.warns(UserWarning, match="less precise"):
        state = prox_optax.proximal(anchor_dtype="bfloat16").init(w)
    new = prox_optax.set_anchor(state, w)
    chex.assert_trees_all_equal_dtypes(new.anchor, state.anchor)
    assert new.anchor["bias"].dtype == jnp.bfloat16
