"""Properties that hold for all inputs, searched by hypothesis."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import prox_optax

# One shape and traced numbers: one compilation serves all examples.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")

N = 4
# XLA flushes subnormal numbers to 0: whole multiples of 2^-20 have none in their
# differences either.
numbers = st.integers(-100 * 2**20, 100 * 2**20).map(lambda n: np.float32(n / 2**20))
vectors = hnp.arrays(np.float32, N, elements=numbers)
weights = st.floats(0, 1e6, width=32, allow_subnormal=False)
periods = st.integers(1, 6)


def pulled(factory):
    @jax.jit
    def update(u, w, a, weight):
        tx = factory(weight, period=None)
        return tx.update(u, prox_optax.set_anchor(tx.init(w), a), w)[0]

    return update


coupled = pulled(prox_optax.proximal)
decoupled = pulled(prox_optax.decoupled_proximal)


@given(g=vectors, w=vectors, a=vectors, strength=weights)
def test_coupled_pull(g, w, a, strength):
    actual = coupled(g, w, a, strength)
    pull = 2 * np.float64(strength) * (np.float64(w) - a)
    # Each of the three float32 operations rounds to 6e-8 of its operands' size.
    scale = np.abs(g) + 2 * strength * (np.abs(w) + np.abs(a))
    assert np.all(np.abs(actual - (g + pull)) <= 2e-7 * scale)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("eta", [1e-3, 1.0, 1e3])
def test_decoupled_pull_caps_the_distance_to_the_anchor(eta, momentum):
    """Gradients of at most 1: at most 1 / (2 lambda (1 - momentum)), for any eta."""
    strength = 3.0
    tx = optax.chain(
        optax.sgd(eta, momentum),
        prox_optax.decoupled_proximal(strength * eta, period=None),
    )
    w = a = jnp.zeros(2)
    state, distances = tx.init(w), []
    for g in [jnp.array([1.0, -1.0])] * 60:
        updates, state = tx.update(g, state, w)
        w = optax.apply_updates(w, updates)
        distances.append(float(jnp.abs(w - a).max()))
    cap = 1 / (2 * strength * (1 - momentum))
    assert max(distances) <= cap * (1 + 1e-5)  # float32
    if eta >= 1:
        # Reached: after 60 steps the momentum lacks 0.9^60 = 0.2 % of its limit.
        assert distances[-1] >= 0.99 * cap


@given(u=vectors, w=vectors, a=vectors, weight=weights)
def test_decoupled_pull_solves_its_problem_and_never_overshoots(u, w, a, weight):
    new = np.float64(w) + decoupled(u, w, a, weight)
    expected = reference.closest_to_both(np.float64(w) + u, np.float64(a), 2 * weight)
    # float32 operations on numbers up to |w| + |u| + |a|.
    tolerance = 1e-6 * (np.abs(w) + np.abs(u) + np.abs(a))
    assert np.all(np.abs(new - expected) <= tolerance)
    low, high = np.minimum(w + u, a), np.maximum(w + u, a)
    assert np.all((low - tolerance <= new) & (new <= high + tolerance))


@given(g=vectors, w=vectors, strength=weights)
def test_no_pull_at_the_anchor(g, w, strength):
    np.testing.assert_array_equal(np.asarray(coupled(g, w, w, strength)), g)


@given(g=vectors, w=vectors, a=vectors, shift=st.integers(-64, 64))
def test_pull_knows_only_differences(g, w, a, shift):
    """Moving params and anchor together changes nothing (whole numbers: exact)."""
    w, a = np.round(w), np.round(a)
    np.testing.assert_array_equal(
        coupled(g, w + shift, a + shift, 0.5), coupled(g, w, a, 0.5)
    )


@jax.jit
def anchors_of(ws, period, anchor_step):
    tx = prox_optax.proximal(0.1, period, anchor_step=anchor_step)

    def one(state, w):
        _, state = tx.update(jnp.zeros(N), state, w)
        return state, state.anchor

    return jax.lax.scan(one, tx.init(ws[0]), ws)[1]


@given(
    ws=hnp.arrays(np.float32, (12, N), elements=numbers),
    period=periods,
    anchor_step=st.sampled_from([1.0, 0.5, 0.01]),
)
def test_anchor_moves_once_a_period(ws, period, anchor_step):
    a = np.float64(ws[0])
    for t, actual in enumerate(anchors_of(ws, period, anchor_step)):
        if t % period == 0:
            a = a + anchor_step * (np.float64(ws[t]) - a)
        np.testing.assert_allclose(actual, a, rtol=0, atol=1e-4)
        if anchor_step == 1.0:
            np.testing.assert_array_equal(actual, ws[t - t % period])


@given(strength=st.floats(0, 1, width=32), decay=st.integers(1, 20), period=periods)
@settings(max_examples=10)
def test_schedule_equals_a_strength_set_by_hand(strength, decay, period):
    """At each step the schedule's strength is the one that acts."""
    schedule = optax.exponential_decay(strength, decay, 0.5)
    tx = prox_optax.proximal(schedule, period)
    w = jnp.arange(1.0, N + 1)
    state = tx.init(w)
    for t in range(5):
        g, state = tx.update(jnp.zeros(N), state, w)
        # g = 2 * strength_t * (w - a): two roundings.
        np.testing.assert_allclose(
            g, 2 * schedule(t) * (w - state.anchor), rtol=3e-7, atol=0
        )
        w = w * 1.5


@given(weight=st.floats(2.0**100, float(np.finfo(np.float32).max), width=32))
def test_decoupled_pull_does_not_overflow(weight):
    w, a = np.array([100, -7, 0, 1], np.float32), np.array([0, 5, 0, 1], np.float32)
    updates = decoupled(np.ones(N, np.float32), w, a, weight)
    # In units in the last place of the way: a GPU's quotient 2 (PTX, div.full), their
    # product 1.
    unit = np.spacing(np.abs(w - a) + 1)
    np.testing.assert_array_less(np.abs(w + updates - a), 3 * unit)


def norm_after_20_periods(tx, curvature):
    """Of w on curvature * w^2 / 2, from 1."""

    def one(_, carry):
        w, state = carry
        updates, state = tx.update(curvature * w, state, w)
        return optax.apply_updates(w, updates), state

    w = jnp.ones(N)
    return jnp.linalg.norm(jax.lax.fori_loop(0, 200, one, (w, tx.init(w)))[0])


@jax.jit
def decoupled_norm(lambda_w, curvature):
    pull = prox_optax.decoupled_proximal(lambda_w)
    return norm_after_20_periods(optax.chain(optax.sgd(0.1, 0.9), pull), curvature)


@jax.jit
def coupled_norm(lambda_w, curvature):
    return norm_after_20_periods(
        prox_optax.trsgd(0.1, 0.9, lambda_w=lambda_w), curvature
    )


@given(
    lambda_w=st.floats(0, 2.0**100, width=32, allow_subnormal=False),
    curvature=st.floats(0, 30, width=32, allow_subnormal=False),
)
def test_decoupled_pull_diverges_nowhere_that_sgd_does_not(lambda_w, curvature):
    """SGD with momentum 0.9 is stable up to learning rate * curvature = 3.8."""
    assert decoupled_norm(lambda_w, curvature) <= np.sqrt(N) * (1 + 1e-4)


def test_coupled_pull_can_diverge():
    """As its own equations do: the oracle agrees."""
    trajectory = reference.trsgd(
        lambda t, w: w, np.ones(N), 200, lambda t: 0.1, lambda_w=1.5, mu=0.9, wd=0, S=10
    )
    expected = np.linalg.norm(trajectory[-1])
    # 200 steps amplify float32 rounding.
    assert coupled_norm(1.5, 1.0) == pytest.approx(expected, rel=1e-3)
    expected_to_diverge = coupled_norm(3.0, 1.0)
    assert expected_to_diverge > 1e3


@pytest.mark.parametrize(
    "factory", [prox_optax.proximal, prox_optax.decoupled_proximal]
)
def test_small_leaves_are_pulled_as_large_ones_are(factory):
    """Bit for bit, NaN and signed zeros too; on a GPU only small ones share kernels.

    The oracle is the leaf of 2^16 + 2 elements, of which the small ones are parts.
    """
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38]
    rng = np.random.default_rng(0)
    large = rng.normal(size=(3, 2**16 + 2)).astype(np.float32)
    large[:, : len(special) ** 2] = 1
    large[0, : len(special) ** 2] = np.repeat(special, len(special))
    large[1, : len(special) ** 2] = np.tile(special, len(special))
    leaves = {"large": large, "small": large[:, : 2**16], "smaller": large[:, :64]}
    update = pulled(factory)
    u, w, a = ({name: x[row] for name, x in leaves.items()} for row in range(3))
    found = update(u, w, a, np.float32(0.3))
    for name in ("small", "smaller"):
        size = found[name].size
        bits = (np.asarray(x).view(np.int32) for x in (found[name], found["large"]))
        np.testing.assert_array_equal(*(x[:size] for x in bits))
