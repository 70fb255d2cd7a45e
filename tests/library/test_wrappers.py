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
    WEIGHTED,
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


@pytest.mark.parametrize("name", WEIGHTED)
def test_masks_that_are_prefixes(name):
    """One MaskedNode for a whole subtree; strengths of the masked parts are unused."""
    w = {"encoder": params_of(), "head": jnp.ones(2)}
    strengths = {"encoder": {"bias": 0.1, "kernel": 0.1}, "head": 0.1}
    weight = "strength" if name == "proximal" else "lambda_w"
    tx = optax.masked(
        make(name, **{weight: strengths}), {"encoder": False, "head": True}
    )
    state = prox_optax.set_anchor(tx.init(w), jax.tree.map(jnp.zeros_like, w))
    (ours,) = proximal_states(state)
    chex.assert_trees_all_equal(ours.anchor["head"], jnp.zeros(2))
    assert len(jax.tree.leaves(ours.anchor)) == 1
    actual, _ = train(tx, w)
    alone, _ = train(make(name, **{weight: 0.1}), {"head": w["head"]})
    chex.assert_trees_all_close(actual["head"], alone["head"], **ROUNDING)


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
    """The optimizer alone up to a sync, from there on again from the slow params."""
    w = optax.LookaheadParams.init_synced(params_of())
    ahead = optax.lookahead(tx, sync_period=PERIOD, slow_step_size=0.5)
    state = ahead.init(w)
    expected, expected_state = params_of(), tx.init(params_of())
    for _ in range(2):
        for _ in range(PERIOD):
            updates, state = ahead.update(gradient(w.fast), state, w)
            w = optax.apply_updates(w, updates)
        start = expected
        expected, expected_state = train(tx, start, PERIOD, expected_state)
        expected = jax.tree.map(lambda s, f: s + 0.5 * (f - s), start, expected)
        chex.assert_trees_all_close(w.fast, expected, **ROUNDING)
    goal = jax.tree.map(jnp.zeros_like, w.fast)
    (ours,) = proximal_states(prox_optax.set_anchor(state, goal))
    chex.assert_trees_all_equal(ours.anchor, goal)


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
    goal = jax.tree.map(jnp.zeros_like, w)
    (ours,) = proximal_states(prox_optax.set_anchor(new_state, goal))
    chex.assert_trees_all_equal(ours.anchor, goal)


@pytest.mark.slow  # three programs for each
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
    (ours,) = proximal_states(prox_optax.set_anchor(state, lanes))
    chex.assert_trees_all_equal(ours.anchor, lanes)
    assert jnp.all(ours.step < 0) or isinstance(ours, prox_optax.OuterState)


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


@pytest.mark.parametrize("tx", WEIGHTED, indirect=True)  # of outer: test_outer
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


def test_anchor_of_low_precision_params_averages_in_float32():
    """Moves of 0.01 * 0.1 are below bfloat16's resolution near 1."""
    w = jnp.full(3, 1.1, jnp.bfloat16)
    tx = prox_optax.proximal(period=1, anchor_step=0.01, anchor_dtype="float32")
    state = prox_optax.set_anchor(tx.init(w), jnp.ones(3))
    update = jax.jit(lambda state: tx.update(jnp.zeros_like(w), state, w)[1])
    for _ in range(101):  # the first keeps what was set
        state = update(state)
    expected = 1.1015625 + 0.99**100 * (1 - 1.1015625)  # 1.1 in bfloat16
    chex.assert_trees_all_close(state.anchor, jnp.full(3, expected), rtol=1e-5)


def test_set_anchor_keeps_the_dtype():
    w = params_of()
    with pytest.warns(UserWarning, match="less precise"):
        state = prox_optax.proximal(anchor_dtype="bfloat16").init(w)
    new = prox_optax.set_anchor(state, w)
    chex.assert_trees_all_equal_dtypes(new.anchor, state.anchor)
    assert new.anchor["bias"].dtype == jnp.bfloat16
