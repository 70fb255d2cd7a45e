"""An anchor in 16 bits: NumPy's numbers, the window, and what outgrows it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optax import contrib
from test_contract import (
    PERIOD,
    STEPS,
    WEIGHTED,
    make,
    params_of,
    step,
    train,
    weight_name,
)
from test_properties import N, vectors

import prox_optax

WINDOW = 2**15  # units
reader = prox_optax.proximal(0.5, PERIOD, anchor_dtype="int16")  # adds w - a


@jax.jit
def read(w, state):
    return reader.update(jnp.zeros_like(w), state, w)


def taken_at(a):
    return read(a, reader.init(a))[1]


def places(x, unit):
    return np.round(np.float64(x) / unit).astype(np.int64)


def wrapped(units):
    return (units + WINDOW) % (2 * WINDOW) - WINDOW


def power_above(x):
    return 2.0 ** np.floor(np.log2(x) + 1)


def next_unit(d, w, unit):
    """Of a leaf that came by d in the period that ends at w."""
    far, size = np.abs(d).max(), np.abs(w).max()
    if far == 0:
        return unit
    return max(power_above(max(8 * far / WINDOW, size / 2**24)), unit / 2)


# The smallest nonzero anchor makes a unit of 2^-23, of which 100 has 8e8: an int32.
anchors = hnp.arrays(
    np.float32, N, elements=st.integers(-(2**12), 2**12).map(lambda n: n / 2**8)
)
fractions = hnp.arrays(np.float32, N, elements=st.floats(-1, 1, width=32))


@given(a=anchors, part=fractions)
def test_displacement_within_the_window(a, part):
    """Within a unit of the true one; exactly 0 where the anchor was just taken."""
    state = taken_at(a)
    np.testing.assert_array_equal(read(a, state)[0], np.zeros(N))
    unit = float(state.unit[0])
    assert unit == (power_above(np.abs(a).max()) if a.any() else 1.0) / WINDOW
    w = np.float32(a + part * unit * (WINDOW - 2))  # and a rounding of w itself
    d, after = read(w, state)
    assert np.all(np.abs(d - (np.float64(w) - a)) <= unit)
    np.testing.assert_array_equal(after.code, state.code)


@given(a=anchors, w=vectors)
def test_codes_and_units_follow_the_oracle(a, w):
    """Also beyond the window: modulo its width, never more than it."""
    state = taken_at(a)
    unit = float(state.unit[0])
    np.testing.assert_array_equal(state.code, wrapped(places(a, unit)))
    d, state = read(w, state)
    np.testing.assert_array_equal(d, unit * wrapped(places(w, unit) - places(a, unit)))
    state = read(w, state._replace(step=jnp.int32(0)))[1]
    # -2**15 units have no magnitude in int16.
    new = next_unit(np.maximum(d, unit * (1 - WINDOW)), w, unit)
    assert float(state.unit[0]) == new
    np.testing.assert_array_equal(state.code, wrapped(places(w, new)))


def period_from(state, w, d):
    """Return the state after the anchor is taken at w, and what is read at w + d."""
    state = read(w, state._replace(step=jnp.int32(0)))[1]
    return state, read(w + d, state)[0]


@pytest.mark.parametrize("jump", [4, 100, 1e4])
def test_a_window_that_was_outgrown_heals(jump):
    """It grows at least eightfold a period, as one of 1000 reads nearly all of it."""
    d = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32) / 64
    w = jnp.asarray(np.random.default_rng(1).normal(size=1000), jnp.float32)
    state = reader.init(w)
    for _ in range(20):
        state, seen = period_from(state, w, d)
        w += d
    window = float(state.unit[0]) * WINDOW
    assert 8 / 64 <= window <= 16 / 64
    np.testing.assert_allclose(seen, d, rtol=0, atol=2 * state.unit[0])

    far = jump / 64
    periods = max(0, int(np.ceil(np.log(far / window) / np.log(7.9))))
    assert periods == {4: 0, 100: 2, 1e4: 4}[jump]
    for i in range(periods + 1):
        state, seen = period_from(state, w, jump * d)
        w += jump * d
        error = np.abs(seen - jump * d).max()
        # The sum w + d is rounded too, to 2^-24 of its size.
        right = error <= 2 * float(state.unit[0]) + 1e-7 * float(jnp.abs(w).max())
        assert right == (i == periods)
        assert np.abs(seen).max() <= float(state.unit[0]) * WINDOW


def test_a_jump_beyond_the_window_is_not_capped_until_it_heals():
    """Gradients of 1 keep a whole anchor within 1 / (2 strength): 1/6."""

    def farthest(anchor_dtype):
        """In each period: ten at a rate of 1e-4, then at 1."""

        def rate(t):
            return jnp.where(t < 100, 1e-4, 1.0)

        pull = prox_optax.decoupled_proximal(
            lambda t: 3 * rate(t), anchor_dtype=anchor_dtype
        )
        tx = optax.chain(optax.sgd(rate), pull)
        w = a = jnp.zeros(1)
        state, far, update = tx.init(w), [], jax.jit(tx.update)
        for t in range(160):
            a = w if t % 10 == 0 else a
            updates, state = update(jnp.ones(1), state, w)
            w = optax.apply_updates(w, updates)
            far.append(float(jnp.abs(w - a)[0]))
        return np.reshape(far, (16, 10)).max(axis=1)

    whole, compact = farthest(None), farthest("int16")
    assert np.all(whole <= 1 / 6 + 1e-6)
    assert compact[10] > 1
    np.testing.assert_allclose(compact[-1], whole[-1], rtol=1e-2)


def test_a_leaf_that_rests_keeps_its_unit():
    """While nothing moves (a frozen layer, a warm-up from 0) and after."""
    w = jnp.array([0.5, -0.25])
    state = reader.init(w)
    for _ in range(100):
        state, seen = period_from(state, w, jnp.zeros(2))
        np.testing.assert_array_equal(seen, [0, 0])
    np.testing.assert_array_equal(state.unit, reader.init(w).unit)
    state, seen = period_from(state, w, jnp.array([0.01, 0]))
    np.testing.assert_allclose(seen, [0.01, 0], rtol=0, atol=state.unit[0])


@pytest.mark.parametrize("distance", [2.0**-20, -1.0])
def test_unit_after_a_short_way_and_after_exactly_the_window(distance):
    """Half of what it was; and 8 times, though -2**15 has no magnitude in int16."""
    unit = 2.0**-15  # of a window of 1
    w = jnp.array([(24576 + 0.49) * unit], jnp.float32)  # just below the next place
    state, seen = period_from(reader.init(w), w, jnp.float32(distance))
    np.testing.assert_array_equal(seen, [unit if distance > 0 else -1.0])
    state, _ = period_from(state, w + jnp.float32(distance), jnp.float32(0))
    np.testing.assert_array_equal(state.unit, [unit / 2 if distance > 0 else 8 * unit])


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_every_scale(scale):
    w = jnp.asarray(scale * np.array([1.0, -0.3, 0.01]), jnp.float32)
    d = jnp.float32(1e-3 * scale)
    state = reader.init(w)
    for _ in range(15):
        state, seen = period_from(state, w, d)
        expected = np.float64(w + d) - np.float64(w)
        w += d
    np.testing.assert_allclose(seen, expected, rtol=0, atol=state.unit[0])
    assert float(state.unit[0]) <= max(d / 2000, 2.0**-23 * jnp.max(jnp.abs(w)))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_parameters_that_are_not_finite_leave_no_trace(bad):
    """Once they are finite again: at the latest from the second period on."""
    w, d = jnp.array([0.5, -0.25]), jnp.float32(0.01)
    state = reader.init(w)
    for start in (w, jnp.array([0.5, bad])):
        state, _ = period_from(state, start, d)
    np.testing.assert_array_equal(state.unit, reader.init(w).unit)
    for start in (state, reader.init(jnp.array([bad, 1.0]))):
        state = start
        for _ in range(2):
            state, seen = period_from(state, w, d)
        np.testing.assert_allclose(seen, [d, d], rtol=0, atol=float(state.unit[0]))


def descending(name, **kwargs):
    """Chain the pulls with SGD: alone they push nothing down the gradient."""
    tx, sgd = make(name, **kwargs), optax.sgd(0.1)
    chains = {"proximal": (tx, sgd), "decoupled_proximal": (sgd, tx)}
    return optax.chain(*chains.get(name, (tx,)))


@pytest.mark.parametrize("name", WEIGHTED)
def test_training_follows_that_with_a_whole_anchor(name):
    """The error of 1/2000 of the displacement adds up to a hundredth of the pull."""
    w, steps = params_of(), 20 * PERIOD
    weight = weight_name(name)
    strength = 0.1 if name == "proximal" else 0.02
    actual, _ = train(
        descending(name, anchor_dtype="int16", **{weight: strength}), w, steps
    )
    expected, _ = train(descending(name, **{weight: strength}), w, steps)
    none, _ = train(descending(name, **{weight: 0.0}), w, steps)
    for leaf in w:
        pull = np.abs(expected[leaf] - none[leaf]).max()
        assert np.abs(actual[leaf] - expected[leaf]).max() <= 0.01 * pull + 1e-6


WRAPPERS = {
    "masked": lambda tx: optax.masked(tx, {"bias": False, "kernel": True}),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "flatten": optax.flatten,
    "schedule_free": lambda tx: contrib.schedule_free(tx, learning_rate=0.1),
    "sam": lambda tx: contrib.sam(tx, optax.sgd(0.05), sync_period=2),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_it_follows_the_whole_anchor(wrapper):
    """Within a few units of the first window, 2^-14 of parameters of about 1."""

    def trained(**kwargs):
        tx = make("trsgdw", **{"lambda_w": 0.1, **kwargs})
        return train(WRAPPERS[wrapper](tx), params_of())[0]

    actual, expected = trained(anchor_dtype="int16"), trained()
    chex.assert_trees_all_close(actual, expected, rtol=0, atol=2e-4)
    none = trained(lambda_w=0.0)
    assert jnp.max(jnp.abs(none["kernel"] - expected["kernel"])) > 2e-3


def test_lanes_and_scan_equal_single_runs():
    tx = make("tradam", anchor_dtype="int16")
    lanes = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params_of())

    def one(carry, _):
        return jax.vmap(lambda w, state: step(tx, w, state))(*carry), None

    start = lanes, jax.vmap(tx.init)(lanes)
    (w, state), _ = jax.lax.scan(one, start, length=STEPS)
    assert state[0].unit.shape == (3, 2)
    for i in range(3):
        alone, _ = train(tx, jax.tree.map(lambda x, i=i: x[i], lanes))
        lane = jax.tree.map(lambda x, i=i: x[i], w)
        chex.assert_trees_all_close(lane, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("empty", [{}, (), {"a": {}}, {"a": jnp.ones((0, 3))}], ids=str)
def test_empty_trees(empty):
    updates, _ = jax.jit(reader.update)(empty, reader.init(empty), empty)
    chex.assert_trees_all_equal(updates, empty)


def test_a_bad_gradient_changes_neither_anchor_nor_unit():
    safe = optax.apply_if_finite(make("trsgdw", anchor_dtype="int16"), 10)
    w, state = train(safe, params_of(), PERIOD + 1)
    bad = jax.tree.map(lambda x: x * jnp.nan, w)
    _, after = safe.update(bad, state, w)
    chex.assert_trees_all_equal(after.inner_state, state.inner_state)


@pytest.mark.parametrize("name", WEIGHTED)
def test_state_is_half_as_large(name):
    w = {"w": jnp.ones((64, 64)), "b": jnp.ones(64)}

    whole, half = (
        sum(x.nbytes for x in jax.tree.leaves(make(name, anchor_dtype=dtype).init(w)))
        for dtype in (None, "int16")
    )
    assert whole - half == 2 * (64 * 64 + 64) - 4 * len(w)


def test_float64_has_the_resolution_of_its_window():
    with jax.enable_x64(True):
        w = jnp.array([1.0, 0.5])
        state = reader.init(w)
        for _ in range(15):
            state, seen = period_from(state, w, 1e-4)
            w += 1e-4
        assert seen.dtype == jnp.float64
        np.testing.assert_allclose(seen, 1e-4, rtol=0, atol=float(state.unit[0]))
        assert state.unit.dtype == jnp.float32
        assert state.unit[0] == 2.0**-23  # w is 1 and a little more


def test_pull_and_distance_read_the_same():
    w, d = params_of(), 0.01
    tx = optax.chain(reader, optax.identity())
    state = tx.update(w, tx.init(w), w)[1]
    away = jax.tree.map(lambda x: x + d, w)
    pulled, _ = tx.update(jax.tree.map(jnp.zeros_like, w), state, away)
    distance = prox_optax.anchor_distance(state, away)
    np.testing.assert_allclose(distance.norm, optax.tree.norm(pulled), rtol=1e-6)
    ratio = prox_optax.pull_ratio(state, away, away, 0.5)
    expected = optax.tree.norm(pulled) / optax.tree.norm(away)
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)
    sizes = [float(optax.tree.norm(x)) for x in (w, away)]
    relative = float(distance.norm) / max(sizes)
    np.testing.assert_allclose(distance.relative, relative, rtol=1e-3)


def test_carry_over_goes_on_at_its_step():
    w, saved = train(optax.adam(0.1), params_of(), PERIOD + 1)
    tx = make("tradam", anchor_dtype="int16")
    state = prox_optax.carry_over(saved, tx.init(w), PERIOD + 1)
    assert int(state[0].step) == PERIOD + 1
    train(tx, w, STEPS, state)


@pytest.mark.parametrize("pull", [prox_optax.proximal, prox_optax.decoupled_proximal])
def test_errors(pull):
    with pytest.raises(ValueError, match=r"needs a period.*anchor_dtype=None"):
        pull(period=None, anchor_dtype="int16")
    with pytest.raises(ValueError, match=r"needs anchor_step=1\.0, got 0\.5.*None"):
        pull(anchor_step=0.5, anchor_dtype=jnp.int16)
    injected = optax.inject_hyperparams(pull)
    with pytest.raises(TypeError, match=r"anchor_step.*name it in static_args"):
        injected(0.1, anchor_dtype="int16").init(jnp.ones(2))
    static = optax.inject_hyperparams(pull, static_args=("anchor_step",))
    static(0.1, anchor_dtype="int16").init(jnp.ones(2))
    tx = pull(anchor_dtype="int16")
    for dtype in ("bfloat16", "float16", "complex64"):
        with pytest.raises(TypeError, match=r"\['z'\] has dtype .*float32 or float64"):
            tx.init({"z": jnp.ones(2, dtype)})
    state = optax.chain(tx, optax.identity()).init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"cannot be set.*anchor_dtype=None"):
        prox_optax.set_anchor(state, jnp.ones(2))
