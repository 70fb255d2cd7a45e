"""Several dtypes at once: master weights, 16-bit gradients, accumulation, the anchor's.

The oracle is the paper's update in NumPy float64, given the very gradients that the
library was given; it never rounds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from test_contract import PERIOD, PULLS, WEIGHTED, make, proximal_states, weight_name

from prox_optax import set_anchor, trsgd

ETA, LAMBDA, N, T = 0.1, 0.2, 1000, 4 * PERIOD
LAMBDA_W = LAMBDA * ETA
RNG = np.random.default_rng(0)
W0 = RNG.normal(size=N).astype(np.float32)
LOW = jnp.asarray(RNG.normal(size=(2 * T, N)), jnp.bfloat16)

# T steps, each of a few operations that round to 6e-8 of numbers up to 4; and Adam's
# 1 - 0.999^t is known to 6e-5 in float32.
FLOAT32 = 1e-5
# T steps of ETA times numbers up to 4, rounded to 8 binary digits at random: four times
# the largest error that was seen, and less than half of what the pull does.
BFLOAT16 = 0.01
TO_FLOAT32 = optax.stateless(optax.tree.cast_like)

SGD = {"eta": lambda t: ETA, "lambda_w": LAMBDA_W, "mu": 0.0, "wd": 0.0}
ADAM = {**SGD, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
del ADAM["mu"]


def pulled_steps(Gs, w, S, lambda_w):
    """SGD, and the pull in each of its steps."""
    trajectory = []
    for t, G in enumerate(Gs):
        if t % S == 0:
            a = w
        w = reference.closest_to_both(w - ETA * G, a, 2 * lambda_w)
        trajectory.append(w)
    return np.array(trajectory)


def oracle(name, Gs, S=PERIOD, pull=1.0):
    """W after each step, float64; ``pull`` scales the strength."""
    Gs, w = np.asarray(Gs, np.float64), np.asarray(W0, np.float64)
    if name == "proximal":
        return reference.proximal_gradients(Gs, w, pull * LAMBDA, S, ETA)[0]
    if name == "decoupled_proximal":
        return pulled_steps(Gs, w, S, pull * LAMBDA_W)
    numbers = {**(ADAM if "adam" in name else SGD), "lambda_w": pull * LAMBDA_W}
    follow = getattr(reference, name)
    return follow(lambda t, w: Gs[t], w, len(Gs), S=S, **numbers)


def optimizer(name, **kwargs):
    """Chain the pulls with SGD, leave the aliases as they are; learning rate 0.1."""
    weight = LAMBDA if name == "proximal" else LAMBDA_W
    tx, sgd = make(name, **{weight_name(name): weight, **kwargs}), optax.sgd(ETA)
    chains = {"proximal": (tx, sgd), "decoupled_proximal": (sgd, tx)}
    return optax.chain(*chains.get(name, (tx,)))


def run(tx, Gs, w=W0):
    """W after each step, the last state, and the updates' dtype; compiled once."""

    @jax.jit
    def step(w, state, G):
        updates, state = tx.update(G, state, w)
        return optax.apply_updates(w, updates), state, updates

    w = jnp.asarray(w)
    state = tx.init(w)
    trajectory = []
    for G in Gs:
        w, state, updates = step(w, state, G)
        trajectory.append(np.asarray(w, np.float64))
    assert step._cache_size() == 1  # type: ignore[attr-defined]
    return np.array(trajectory), state, updates.dtype


def error(trajectory, expected):
    return np.abs(trajectory - expected).max()


@pytest.fixture(params=WEIGHTED)
def name(request):
    return request.param


def test_a_missing_pull_is_beyond_the_tolerance(name):
    missing = error(oracle(name, LOW[:T], pull=0.0), oracle(name, LOW[:T]))
    assert missing > 2 * BFLOAT16


def test_float32_params_cast_in_the_loss(name):
    """Gradients come out float32: a float32 run, with the gradients of bfloat16."""
    targets = jnp.asarray(RNG.normal(size=N), jnp.bfloat16)

    @jax.jit
    def gradient(w):
        return jax.grad(lambda w: jnp.sum((w.astype(jnp.bfloat16) - targets) ** 2 / 2))(
            w
        )

    tx = optimizer(name)
    update = jax.jit(tx.update)
    w, Gs, ws = jnp.asarray(W0), [], []
    state = tx.init(w)
    for _ in range(T):
        Gs.append(gradient(w))
        updates, state = update(Gs[-1], state, w)
        w = optax.apply_updates(w, updates)
        ws.append(w)
    assert {x.dtype for x in (Gs[0], updates, w)} == {jnp.dtype(jnp.float32)}
    assert proximal_states(state)[0].anchor.dtype == jnp.float32
    assert error(np.array(ws), oracle(name, Gs)) < FLOAT32


def test_master_weights_with_the_gradients_cast_first(name):
    """Gradients of a bfloat16 copy, cast: nothing but float32 rounding is lost."""
    ws, _, dtype = run(optax.chain(TO_FLOAT32, optimizer(name)), LOW[:T])
    assert dtype == jnp.float32
    assert error(ws, oracle(name, LOW[:T])) < FLOAT32


def test_master_weights_with_bfloat16_gradients(name):
    """The sum g + pull is rounded; the anchor and its counter are those of float32."""
    ws, state, dtype = run(optimizer(name), LOW[:T])
    base = optax.adam(ETA) if "adam" in name else optax.sgd(ETA)
    assert dtype == run(base, LOW[:T])[2]
    assert 100 * FLOAT32 < error(ws, oracle(name, LOW[:T])) < BFLOAT16
    _, expected, _ = run(optimizer(name), jnp.float32(LOW[:T]))
    (ours,), (theirs,) = map(proximal_states, (state, expected))
    assert ours.anchor.dtype == jnp.float32
    assert ours.step == theirs.step


@pytest.mark.parametrize("pull", PULLS)
def test_bfloat16_gradients_are_rounded_once(pull):
    """The distance is taken in float32, though it is below bfloat16's last digit."""
    tx = make(pull, period=None, **{weight_name(pull): 100.0})
    w, a, G = np.float64(1.001 * W0), np.float64(W0), np.float64(LOW[0])
    updates, _ = tx.update(LOW[0], tx.init(jnp.asarray(W0)), jnp.float32(w))
    pulls = 200 * (w - a)
    exact = G + pulls if pull == "proximal" else (G - pulls) / 201
    # Half of the last of 8 binary digits; and float32's rounding of w, 200-fold.
    tolerance = 2.0**-8 * np.abs(exact) + 200 * 2.0**-24 * np.abs(w) + 1e-6
    assert np.all(np.abs(np.float64(updates) - exact) <= tolerance)


@pytest.mark.parametrize("pull", PULLS)
def test_a_pull_below_a_512th_of_a_bfloat16_gradient_is_lost(pull):
    """All of it, at every step, for g lies on bfloat16's grid; none if cast first."""
    weight, distance = 2.0**-20, 2.0**9  # 2 * weight * distance = 2^-10
    g, w = jnp.ones(1, jnp.bfloat16), jnp.full(1, distance)
    tx = make(pull, **{weight_name(pull): weight})
    cast = optax.chain(TO_FLOAT32, tx)
    for transformation, arrived in ((tx, 0.0), (cast, 2.0**-10)):
        state = set_anchor(transformation.init(w), jnp.zeros(1))
        updates, _ = transformation.update(g, state, w)
        assert abs(updates[0] - 1) == pytest.approx(arrived, rel=3e-3)


def test_bfloat16_params_without_a_master():
    """Lossy, but less than half as far from the oracle as the formula in bfloat16.

    The decoupled one: of the coupled pull most is the rounding of the params.
    """
    w = jnp.asarray(W0, jnp.bfloat16)
    ws, state, _ = run(optimizer("decoupled_proximal"), LOW[:T], w)
    assert proximal_states(state)[0].anchor.dtype == jnp.bfloat16
    eta, r = jnp.bfloat16(ETA), jnp.bfloat16(2 * LAMBDA_W)
    naive = []
    for t, G in enumerate(LOW[:T]):
        if t % PERIOD == 0:
            a = w
        w = (w - eta * G + r * a) / (1 + r)
        naive.append(np.asarray(w, np.float64))
    expected = oracle("decoupled_proximal", LOW[:T])
    ours, theirs = (np.linalg.norm(x - expected) for x in (ws, np.array(naive)))
    assert ours < 0.5 * theirs


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_where_a_pull_alone_stops(pull, dtype):
    """At the anchor; bfloat16 params where a step is half of their last digit."""
    tx, w = optimizer(pull, period=None), jnp.full(1, 1.5, dtype)

    def step(_, carry):
        w, state = carry
        updates, state = tx.update(jnp.zeros_like(w), state, w)
        return optax.apply_updates(w, updates), state

    start = w, set_anchor(tx.init(w), jnp.ones(1))
    w, _ = jax.lax.fori_loop(0, 300, step, start)
    # A step is 2 * LAMBDA_W of the distance, half of the last digit of 1 to 2 is 2^-8.
    limit = 2.0**-8 / (2 * LAMBDA_W) * 1.05 if dtype == "bfloat16" else 1e-5
    assert 0 <= float(w[0]) - 1 <= limit


MEANS = np.asarray(LOW, np.float64).reshape(T, 2, N).mean(axis=1)


def every_two(tx):
    return optax.MultiSteps(tx, every_k_schedule=2).gradient_transformation()


def accumulated(tx, Gs):
    """As ``run``; optax before 0.2.8 refuses gradients below the params' precision."""
    try:
        every_two(optax.sgd(ETA)).update(Gs[0], every_two(optax.sgd(ETA)).init(W0), W0)
    except TypeError:
        pytest.skip("optax.MultiSteps itself refuses these gradients")
    return run(tx, Gs)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_multi_steps_around_the_optimizer(name, dtype):
    """A period counts updates: the oracle sees only the means of two gradients.

    optax accumulates in float32 and gives the mean in the gradients' dtype.
    """
    Gs, tx = jnp.asarray(LOW, dtype), every_two(optimizer(name))
    expected = oracle(name, MEANS)
    cast, _, _ = run(optax.chain(TO_FLOAT32, tx), Gs)
    assert error(cast[1::2], expected) < FLOAT32
    np.testing.assert_array_equal(cast[2::2], cast[1:-1:2])
    ws, state, _ = accumulated(tx, Gs)
    assert state.acc_grads.dtype == jnp.float32
    assert error(ws[1::2], expected) < (BFLOAT16 if dtype == "bfloat16" else FLOAT32)


def micro_steps(pull, S):
    """W after each gradient, where a period counts them: the pull outside."""
    Gs, w, total, trajectory = np.asarray(LOW, np.float64), np.float64(W0), 0.0, []
    for t, G in enumerate(Gs):
        if t % S == 0:
            a = w
        total = total + G + (2 * LAMBDA * (w - a) if pull == "proximal" else 0.0)
        if t % 2 == 1:
            w, total = w - ETA * total / 2, 0.0
        if pull == "decoupled_proximal":
            w = reference.closest_to_both(w, a, 2 * LAMBDA_W)
        trajectory.append(w)
    return np.array(trajectory)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("pull", PULLS)
def test_multi_steps_around_sgd_alone(pull, dtype):
    """A period counts micro-steps; the decoupled pull acts in each of them."""
    weight = LAMBDA if pull == "proximal" else LAMBDA_W
    tx, sgd = make(pull, **{weight_name(pull): weight}), every_two(optax.sgd(ETA))
    chained = optax.chain(*((tx, sgd) if pull == "proximal" else (sgd, tx)))
    Gs, expected = jnp.asarray(LOW, dtype), micro_steps(pull, PERIOD)
    cast, _, _ = run(optax.chain(TO_FLOAT32, chained), Gs)
    assert error(cast, expected) < FLOAT32
    ws, _, _ = accumulated(chained, Gs)
    # Twice as many pulls are rounded.
    limit = 2 * BFLOAT16 if dtype == "bfloat16" else FLOAT32
    assert error(ws, expected) < limit


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize(("centre", "of_one"), [(0.0, 0.0067), (1.0, 0.36)])
@pytest.mark.parametrize("rate", [1e-5, 1e-3])
def test_bfloat16_anchor_is_off_by_its_rounding(pull, centre, of_one, rate):
    """Root mean square over the distance: 5 rates, a period's mean at that step length.

    Of weights 0 +- 0.02 and 1 +- 0.02, as a fraction of the pull: at rate 1e-3
    ``of_one``, at 1e-5 a hundred times that.
    """
    a = jnp.float32(centre + 0.02 * np.random.default_rng(0).normal(size=100_000))
    w, zeros = a + 5 * rate, jnp.zeros_like(a)

    def pulled(dtype):
        tx = make(pull, period=None, anchor_dtype=dtype)
        return np.asarray(tx.update(zeros, tx.init(a), w)[0], np.float64)

    with pytest.warns(UserWarning, match=r"up to 0\.39 % of each weight"):
        low = pulled("bfloat16")
    exact = pulled(None)
    actual = np.linalg.norm(low - exact) / np.linalg.norm(exact)
    rounding = np.float64(a) - np.float64(a.astype(jnp.bfloat16))
    # a + 5 rate is rounded to float32: near 1 by up to 6e-8 of 5e-5.
    expected = np.sqrt(np.mean(rounding**2)) / (5 * rate)
    assert actual == pytest.approx(expected, rel=3e-3)
    assert actual == pytest.approx(of_one * 1e-3 / rate, rel=0.02)


def test_strengths_of_16_bits_are_combined_in_float32():
    """In float16 lambda_w / rate is 1e-2 / 1e-7 = infinity, as at a cosine's end."""
    rate, lambda_w = jnp.float16(1e-7), jnp.float16(0.01)
    tx = trsgd(rate, lambda_w=lambda_w, period=None)
    w = jnp.full(3, 1e-3)
    updates, _ = tx.update(jnp.zeros(3), tx.init(jnp.zeros(3)), w)
    np.testing.assert_allclose(updates, -2 * float(lambda_w) * w, rtol=1e-5)
