"""``outer`` against Lookahead, SNOO and DiLoCo in NumPy float64, and optax's own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import reference
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import prox_optax

T, S = 23, 4
RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 6)) / 6
A = A @ A.T + 0.3 * np.eye(6)
B = RNG.normal(size=(T, 6))
W0 = RNG.normal(size=6)
INNER = {"eta": 0.1, "mu": 0.9}
NESTEROV = optax.sgd(0.7, momentum=0.9, nesterov=True)

# The same float64 operations in another order: 23 steps of rounding errors of 1e-16,
# amplified by less than 100 along these trajectories.
ORACLE_TOLERANCE = 1e-13


def gradient(t, w):
    return A @ w - B[t]


def jax_gradient(t, w):
    return jnp.asarray(A) @ w - jnp.asarray(B)[t]


def run(tx, gradient=jax_gradient, w0=W0, steps=T):
    """Return the params and the anchor after each step, compiled once."""

    @jax.jit
    def step(w, state, t):
        updates, state = tx.update(gradient(t, w), state, w)
        return optax.apply_updates(w, updates), state

    w = jnp.asarray(w0)
    state = tx.init(w)
    fast, slow = [], []
    for t in range(steps):
        w, state = step(w, state, t)
        fast.append(np.asarray(w))
        slow.append(np.asarray(prox_optax.get_anchor(state, w)))
    assert step._cache_size() == 1  # type: ignore[attr-defined]
    return np.array(fast), np.array(slow)


def around_sgd(optimizer, period=S):
    sgd = optax.sgd(INNER["eta"], INNER["mu"])
    return optax.chain(sgd, prox_optax.outer(optimizer, period))


@pytest.mark.parametrize("period", [1, S, T + 1])
@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_sgd_outside_is_lookahead(alpha, period):
    with jax.enable_x64(True):
        actual = run(around_sgd(optax.sgd(alpha), period))
    expected = reference.lookahead(gradient, W0, T, **INNER, k=period, alpha=alpha)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ORACLE_TOLERANCE)


@pytest.mark.parametrize("rate", [0.7, 1.0])
def test_nesterov_momentum_outside_is_snoo(rate):
    with jax.enable_x64(True):
        tx = around_sgd(optax.sgd(rate, momentum=0.9, nesterov=True))
        fast, slow = run(tx)
    expected = reference.diloco(
        [gradient], W0, T, **INNER, H=S, outer_rate=rate, outer_momentum=0.9
    )
    np.testing.assert_allclose(fast, expected[0][:, 0], rtol=0, atol=ORACLE_TOLERANCE)
    np.testing.assert_allclose(slow, expected[1], rtol=0, atol=ORACLE_TOLERANCE)


@pytest.mark.parametrize("base", [optax.sgd(0.1, 0.9), optax.adamw(0.1)])
def test_it_follows_optax_lookahead_without_wrapped_params(base):
    """In float64, to its rounding; optax rounds the way back otherwise."""

    def theirs():
        tx = optax.lookahead(base, S, 0.5)
        w = optax.LookaheadParams.init_synced(jnp.asarray(W0))
        state, trajectory = tx.init(w), []
        for t in range(T):
            updates, state = tx.update(jax_gradient(t, w.fast), state, w)
            w = optax.apply_updates(w, updates)
            trajectory.append((w.fast, w.slow))
        return np.swapaxes(np.array(trajectory), 0, 1)

    with jax.enable_x64(True):
        expected = theirs()
        actual = run(optax.chain(base, prox_optax.outer(optax.sgd(0.5), S)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ORACLE_TOLERANCE)


def test_a_rate_of_one_is_the_base_optimizer_to_a_rounding():
    """By 3 * 2^-24 of the larger of |a| and |x|, with x = w + u, in a step.

    A result is rounded by 2^-24 of itself: a - x, which may be twice the larger, and
    a - (a - x), which is x. So are the way back a - w and the params w + (a - w).
    """
    w, a = (jnp.asarray(x, jnp.float32) for x in RNG.normal(size=(2, 4000)))
    u = jnp.asarray(0.1 * RNG.normal(size=4000), jnp.float32)
    tx = prox_optax.outer(optax.sgd(1.0), 1)
    state = prox_optax.set_anchor(tx.init(w), a)
    updates, state = jax.jit(tx.update)(u, state, w)
    x = w + u
    bound = 3.001 * 2.0**-24  # the roundings are rounded too
    larger = np.maximum(np.abs(a), np.abs(x))
    assert np.all(np.abs(np.float64(state.anchor) - x) <= bound * larger)
    assert not np.all(state.anchor == x)
    larger = np.maximum(np.abs(state.anchor), np.abs(w))
    far = np.abs(np.float64(w + updates) - state.anchor)
    assert np.all(far <= bound * larger)


def test_what_rounding_leaves_does_not_add_up():
    """400 outer steps of rate 1 in float32 stay with SGD in float64."""
    steps = 400

    def quadratic(t, w):
        return jnp.asarray(A, w.dtype) @ w - jnp.asarray(B, w.dtype)[t % T]

    tx = optax.chain(optax.sgd(0.1), prox_optax.outer(optax.sgd(1.0), 2))
    actual, _ = run(tx, quadratic, np.float32(W0), steps)
    with jax.enable_x64(True):
        expected, _ = run(
            optax.chain(optax.sgd(0.1), prox_optax.outer(optax.sgd(1.0), steps + 1)),
            quadratic,
            W0,
            steps,
        )
    # A step of the quadratic keeps at most 0.97 of an error: 4 roundings over 0.03.
    assert np.abs(actual - expected).max() < 4 / 0.03 * 2.0**-23


@pytest.mark.parametrize("optimizer", [NESTEROV, optax.adam(0.1), optax.adamw(0.1)])
def test_other_updates_pass_untouched(optimizer):
    """Bit for bit, -0.0 included; the outer optimizer is asked once a period.

    Its update by hand: of d = a - (w + u), at the anchor.
    """
    tx = prox_optax.outer(optimizer, S)
    w = {"w": jnp.array([-0.0, 0.0, 1.0, -2.5])}
    u = {"w": jnp.array([-0.0, 1e38, -0.0, 0.25])}
    state = tx.init(w)
    a, of_outer = w, optimizer.init(w)
    for t in range(2 * S):
        updates, state = jax.jit(tx.update)(u, state, w)
        if t % S < S - 1:
            assert np.asarray(updates["w"]).tobytes() == np.asarray(u["w"]).tobytes()
        else:
            d = jax.tree.map(lambda a, w, u: a - (w + u), a, w, u)
            moves, of_outer = optimizer.update(d, of_outer, a)
            a = optax.apply_updates(a, moves)
            for actual, expected in (
                (state.anchor, a),
                (state.outer_state, of_outer),
                (optax.apply_updates(w, updates), a),
            ):
                for x, y in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
                    np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(state.step, (t + 1) % S)


def test_a_pull_inside_composes():
    """SLRLA: a pull towards an anchor of its own, and Lookahead outside."""
    pull = prox_optax.proximal(0.2, period=S)
    tx = optax.chain(pull, optax.sgd(0.1), prox_optax.outer(optax.sgd(0.5), S))
    with jax.enable_x64(True):
        w = jnp.asarray(W0)
        state, actual = tx.init(w), []
        for t in range(T):
            updates, state = tx.update(jax_gradient(t, w), state, w)
            w = optax.apply_updates(w, updates)
            actual.append(np.asarray(w))
        slow = prox_optax.get_anchor(state, w, name="[2]")
    w, phi, expected = W0, W0, []
    for t in range(T):
        if t % S == 0:
            a = w
        w = w - 0.1 * (gradient(t, w) + 2 * 0.2 * (w - a))
        if t % S == S - 1:
            phi = phi + 0.5 * (w - phi)
            w = phi
        expected.append(w)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ORACLE_TOLERANCE)
    np.testing.assert_allclose(slow, phi, rtol=0, atol=ORACLE_TOLERANCE)


def test_a_decoupled_pull_outside_of_it_composes():
    """Behind ``outer`` it pulls each step, the outer ones too."""
    pull = prox_optax.decoupled_proximal(0.5, period=None)
    tx = optax.chain(prox_optax.outer(optax.sgd(0.5), 1), pull)
    w = jnp.array([2.0])
    state = prox_optax.set_anchor(tx.init(w), jnp.zeros(1), name="[1]")
    updates, _ = tx.update(jnp.array([2.0]), state, w)
    np.testing.assert_array_equal(w + updates, [1.5])  # half of 2 + 0.5 * 2


def test_set_anchor_leaves_a_due_step_due():
    """By hand: from the anchor 0 half of the way to 1 + 1."""
    tx = prox_optax.outer(optax.sgd(0.5), 2)
    w = jnp.ones(1)
    _, state = tx.update(jnp.zeros(1), tx.init(w), w)
    state = prox_optax.set_anchor(state, jnp.zeros(1))
    updates, state = tx.update(jnp.ones(1), state, w)
    np.testing.assert_array_equal(state.anchor, [1.0])
    np.testing.assert_array_equal(w + updates, [1.0])
    assert int(state.step) == 0


def test_an_anchor_that_was_never_taken_shows():
    """An abstract init knows no params; ``set_anchor`` takes the anchor."""
    tx = prox_optax.outer(optax.sgd(0.5), 1)
    state = tx.init(jax.ShapeDtypeStruct((1,), jnp.float32))
    updates, _ = tx.update(jnp.ones(1), state, jnp.zeros(1))
    assert not np.any(np.isfinite(updates))
    state = prox_optax.set_anchor(state, jnp.zeros(1))
    updates, _ = tx.update(jnp.ones(1), state, jnp.zeros(1))
    np.testing.assert_array_equal(updates, [0.5])


def test_a_parameter_without_an_update_keeps_its_anchor():
    """Also where the outer optimizer would move it by itself."""
    tx = prox_optax.outer(optax.adamw(0.1, weight_decay=0.5), 1)
    w = {"a": jnp.ones(2), "b": jnp.ones(2)}
    for _ in range(2):
        updates, state = tx.update({"a": None, "b": jnp.ones(2)}, tx.init(w), w)
        assert updates["a"] is None
        np.testing.assert_array_equal(state.anchor["a"], w["a"])
        assert np.all(state.anchor["b"] != w["b"])


OUTSIDE = {
    "sgd": optax.sgd(0.7, 0.9, nesterov=True),
    "low momentum": optax.sgd(0.7, 0.9, accumulator_dtype="bfloat16"),
    "adam": optax.adam(0.1),
    "adamw with a schedule": optax.adamw(optax.cosine_decay_schedule(0.1, 10)),
    "injected": optax.inject_hyperparams(optax.sgd)(lambda t: 0.5 / (1 + t)),
    "yogi": optax.yogi(0.1),
    "adagrad": optax.adagrad(0.1),
    "lion": optax.lion(0.1),
    "adafactor": optax.adafactor(0.1),
    "lamb": optax.lamb(0.1),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.5)),
    "noisy": optax.noisy_sgd(0.1, key=0),
    "masked": optax.masked(optax.adam(0.1), {"b": True, "w": False}),
    "partition": optax.partition(
        {"x": optax.sgd(0.5), "y": optax.adam(0.1)}, {"b": "x", "w": "y"}
    ),
    "averaged": optax.chain(optax.ema(0.9), optax.sgd(0.5)),
    "every second": optax.MultiSteps(optax.sgd(0.5), 2).gradient_transformation(),
    "nothing": optax.identity(),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_transformation_outside(name, dtype):
    """Types of updates and state stay; a scan over three periods carries them."""
    tx = optax.chain(optax.sgd(0.1), prox_optax.outer(OUTSIDE[name], 2))
    w = {"b": jnp.ones(3, dtype), "w": jnp.full((2, 3), 0.5, dtype)}

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(w, state, w)
        return (optax.apply_updates(w, updates), state), None

    start = w, tx.init(w)
    end, _ = jax.lax.scan(step, start, length=6)
    for before, after in zip(*map(jax.tree.leaves, (start, end)), strict=True):
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
    assert all(np.all(np.isfinite(np.float32(x))) for x in jax.tree.leaves(end[0]))


def test_traced_and_injected_periods():
    """What baked-in ones do, in one compilation for a sweep."""
    w = jnp.asarray(W0, jnp.float32)

    def end(period, wrap=lambda f, period: f(optax.sgd(0.5), period)):
        tx = optax.chain(optax.sgd(0.1), wrap(prox_optax.outer, period))

        def step(t, carry):
            w, state = carry
            updates, state = tx.update(w - jnp.float32(B)[t], state, w)
            return optax.apply_updates(w, updates), state

        return jax.lax.fori_loop(0, T, step, (w, tx.init(w)))[0]

    periods = [1, 2, 5]
    swept = jax.jit(jax.vmap(end))(jnp.array(periods))
    for lane, period in zip(swept, periods, strict=True):
        # Traced and constant numbers are folded differently by XLA.
        np.testing.assert_allclose(lane, end(period), rtol=1e-5, atol=1e-6)
        injected = end(
            period, lambda f, S: optax.inject_hyperparams(f)(optax.sgd(0.5), S)
        )
        np.testing.assert_allclose(lane, injected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [0, 7, 2**31 - 1])
def test_a_run_without_it_goes_on(step):
    """``carry_over`` takes the moments, starts the outer optimizer, keeps the phase."""
    w = jnp.ones(2)
    adam = optax.adam(0.1)
    tx = optax.chain(adam, prox_optax.outer(NESTEROV, 3))
    _, saved = adam.update(w, adam.init(w), w)
    state = prox_optax.carry_over(saved, tx.init(w), step=step)
    np.testing.assert_array_equal(state[0][0].mu, saved[0].mu)
    np.testing.assert_array_equal(state[1].anchor, w)
    for t in range(step, step + 4):
        _, state = tx.update(w, state, w)
        assert int(state[1].step) == (t + 1) % 3
        moved = t >= step + (2 - step % 3)  # the first update with t % 3 == 2
        assert bool(np.any(state[1].anchor != w)) == moved
    back = prox_optax.carry_over(state, adam.init(w), step=step)
    np.testing.assert_array_equal(back[0].mu, state[0][0].mu)


def test_bfloat16_updates_of_float32_params():
    """Anchor and outer momentum are float32; the way back is rounded, not lost."""
    w = jnp.asarray(RNG.normal(size=500), jnp.float32)
    u = jnp.asarray(0.1 * RNG.normal(size=500), jnp.bfloat16)
    tx = prox_optax.outer(NESTEROV, 1)
    state = tx.init(w)
    updates, state = tx.update(u, state, w)
    assert updates.dtype == jnp.bfloat16
    a, d = np.float64(w), -np.float64(u)
    expected = a - 0.7 * 1.9 * d
    np.testing.assert_allclose(state.anchor, expected, rtol=1e-6, atol=1e-6)
    # Half of the last of 8 binary digits of the way.
    np.testing.assert_allclose(np.float64(updates), expected - a, rtol=2.0**-8)
    w = w + updates
    lost = np.float64(w) - np.float64(state.anchor)
    _, after = tx.update(jnp.zeros_like(u), state, w)
    trace = 0.9 * d - lost
    np.testing.assert_allclose(after.outer_state[0].trace, trace, rtol=1e-5, atol=1e-6)


def test_bfloat16_params_are_less_wrong_than_the_formulas_in_bfloat16():
    """Distances are taken in float32, of w and u before they are added up."""
    w, a = (jnp.asarray(x, jnp.bfloat16) for x in RNG.normal(size=(2, 1000)))
    u = jnp.asarray(1e-3 * RNG.normal(size=1000), jnp.bfloat16)
    tx = prox_optax.outer(optax.trace(0.0), 1)  # its state is the distance
    state = prox_optax.set_anchor(tx.init(w), a)
    _, state = tx.update(u, state, w)
    w64, u64, a64 = (np.asarray(x, np.float64) for x in (w, u, a))
    exact = a64 - (w64 + u64)
    seen = np.asarray(state.outer_state.trace, np.float64)
    naive = np.asarray(a - (w + u), np.float64)
    half_unit = 2.0**-8 * np.abs(exact) * (1 + 1e-3)
    assert np.all(np.abs(seen - exact) <= half_unit)
    assert not np.all(np.abs(naive - exact) <= half_unit)


@pytest.mark.usefixtures("cpu")  # a mesh takes eight devices
def test_a_sharded_state_of_replicated_params():
    """ZeRO-1 on an explicit mesh: anchor and outer momentum lie in shards."""
    tx, w = prox_optax.outer(NESTEROV, 1), jnp.asarray(RNG.normal(size=(16, 4)))
    expected, expected_state = tx.update(2 * w, tx.init(w + 1), w)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, P("data", None))
        state = jax.tree.map(
            lambda x: jax.device_put(x, split) if x.ndim else x, tx.init(w + 1)
        )
        whole, g = (jax.device_put(x, NamedSharding(mesh, P())) for x in (w, 2 * w))
        updates, new_state = jax.jit(tx.update)(g, state, whole)
        types = [jax.tree.map(jax.typeof, x) for x in (state, new_state)]
        assert types[0].anchor == types[1].anchor
        assert types[0].outer_state == types[1].outer_state
    np.testing.assert_allclose(updates, expected, rtol=1e-6)
    np.testing.assert_allclose(new_state.anchor, expected_state.anchor, rtol=1e-6)


def test_an_optimizer_that_keeps_its_first_params_shares_no_buffer():
    """With eager init, and params and state donated."""
    tx = prox_optax.outer(optax.contrib.dog(1.0), 2)
    w = {"w": jnp.ones(3)}
    state = tx.init(w)
    donating = jax.jit(lambda w, state: tx.update(w, state, w), donate_argnums=(0, 1))
    for _ in range(4):
        w, state = donating(w, state)


@pytest.mark.parametrize("base", [optax.sgd(1e-3, 0.9), optax.adam(1e-3)])
def test_memory(base):
    """Donated, an anchor, the outer optimizer's state, and the update in between.

    The base alone writes its update to no memory. Here an outer step reads it, so it
    is written: that is one array of temporaries on a GPU, and two on a CPU.
    """
    w = {"w": jnp.ones((256, 256)), "b": jnp.ones(256)}
    tx = optax.chain(base, prox_optax.outer(NESTEROV, 10))
    state = tx.init(w)
    kept = jax.tree.leaves(state[1])
    assert sum(x.nbytes for x in kept) == 2 * 4 * (256 * 256 + 256) + 4

    def step(w, state, g):
        updates, state = tx.update(g, state, w)
        return optax.apply_updates(w, updates), state

    donating = jax.jit(step, donate_argnums=(0, 1))
    compiled = donating.lower(w, state, w).compile()
    leaf = 256 * 256 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < 2.05 * leaf
    entry = compiled.as_text().split("ENTRY")[1]
    assert not re.search(r"f32\[256,256\]\S* copy\(", entry)
    assert len(re.findall(r" conditional\(", entry)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"optimizer": 0.7}, TypeError, r"got 0\.7; write .*optax\.sgd\(0\.7, mom"),
        ({"optimizer": optax.sgd}, TypeError, "optimizer must be an optax transform"),
        ({"period": None}, TypeError, "period must be one integer.*period=30"),
        ({"period": 0}, ValueError, "period must be at least 1.*period=30"),
        ({"axis_name": 3}, TypeError, "axis_name must be a text.*axis_name='workers'"),
        ({"axis_name": ("x", 3)}, TypeError, "axis_name must be a text, a tuple of"),
        ({"axis_name": ()}, TypeError, "axis_name must be a text, a tuple of"),
    ],
)
def test_bad_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        prox_optax.outer(**{"optimizer": NESTEROV, "period": 3, **arguments})


def test_states_of_the_other_kind():
    w = jnp.ones(2)
    outer, pull = prox_optax.outer(NESTEROV, 3), prox_optax.decoupled_proximal()
    with pytest.raises(ValueError, match=r"is a ProximalState and .*outer.*carry_over"):
        outer.update(w, pull.init(w), w)
    with pytest.raises(ValueError, match=r"is a OuterState and .*carry_over"):
        pull.update(w, outer.init(w), w)


def test_an_anchor_less_precise_than_the_params():
    tx, w = prox_optax.outer(NESTEROV, 3), jnp.ones(2)
    low = tx.init(w.astype(jnp.bfloat16))
    with pytest.raises(
        ValueError, match=r"is bfloat16 and its parameter float32.*rest"
    ):
        tx.update(w, low, w)
    updates, _ = tx.update(w, tx.init(w), w.astype(jnp.bfloat16))  # a wider one is kept
    assert updates.dtype == jnp.float32


def test_an_axis_that_is_not_there():
    tx, w = prox_optax.outer(NESTEROV, 3, axis_name="workers"), jnp.ones(2)
    with pytest.raises(NameError, match="workers"):
        tx.update(w, tx.init(w), w)
