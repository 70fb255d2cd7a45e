"""How to choose strength and period: the rule does what it was derived from."""

from functools import partial

import anchor_report
import choose_strength
import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prox_optax import decoupled_proximal

# 30 contracting float64 steps in another order: rounding errors of 1e-16 on numbers of
# about 1.
TOLERANCE = 1e-12

SAFE = 0.05
CURVATURE, OPTIMUM = np.array([0.3, 1.0, 2.0]), np.array([1.0, -2.0, 0.5])
START = np.array([3.0, 1.0, -1.0])


def walk(optimizer, gradient, steps):
    """Return the parameters before the first step and after each."""
    path = [START]
    with jax.enable_x64(True):
        w: optax.Params = jnp.asarray(START)
        state = optimizer.init(w)
        for t in range(steps):
            updates, state = optimizer.update(jnp.asarray(gradient(t, w)), state, w)
            w = optax.apply_updates(w, updates)
            path.append(np.asarray(w))
    return np.array(path)


def by_the_rule(times, period, momentum=None):
    point = choose_strength.point(SAFE, times, 1.0, period)
    pull = decoupled_proximal(point["lambda_w"], period)
    return optax.chain(optax.sgd(point["rate"], momentum), pull)


@pytest.mark.parametrize("times", [1, 3, 10, 30])
@pytest.mark.parametrize("period", [1, 5, 10])
def test_a_period_on_a_quadratic_goes_as_far_as_predicted(times, period):
    """To the minimum of the loss and ||w - a||^2 / (2 S safe), but for q^S of the way.

    It lies at a - (a - optimum) x / (1 + x), with x = S safe curvature;
    q = (1 - rate curvature) / (1 + r), r = rate / (S safe).
    """

    def gradient(_, w):
        return CURVATURE * (w - OPTIMUM)

    ends = walk(by_the_rule(times, period), gradient, 3 * period)[::period]

    x = period * SAFE * CURVATURE
    q = (1 - times * SAFE * CURVATURE) / (1 + times / period)
    expected = [START]
    for _ in range(3):
        far = expected[-1] - OPTIMUM
        expected.append(expected[-1] - far * x / (1 + x) * (1 - q**period))
    np.testing.assert_allclose(ends, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("times", [3, 10, 1000])
def test_a_steady_gradient_goes_no_farther_than_at_the_safe_rate(times):
    """Of S steps at the safe rate, 1 - (1 + times / S)^-S: 0.90 to 1 at these rates."""
    period, g = choose_strength.PERIOD, np.array([1.0, -2.0, 3.0])

    path = walk(by_the_rule(times, period), lambda *_: g, period)

    capped = 1 - (1 + times / period) ** -period
    np.testing.assert_allclose(
        path[-1] - START, -period * SAFE * g * capped, rtol=0, atol=TOLERANCE
    )
    assert 0.9 < capped < 1


def test_at_period_1_the_rule_is_the_optimizer_at_about_the_safe_rate():
    gradients = np.random.default_rng(0).normal(size=(30, 3))

    path = walk(by_the_rule(10, 1, 0.9), lambda t, _: gradients[t], 30)

    alone = walk(optax.sgd(SAFE * 10 / 11, 0.9), lambda t, _: gradients[t], 30)
    np.testing.assert_allclose(path, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("times", "period"), [(10, 2), (10, 10), (30, 10), (10, 50)])
def test_a_long_period_lowers_the_largest_stable_curvature(times, period):
    """With momentum mu to (1 + mu) (2 / times + 1 / S) / safe; alone 2 (1 + mu) / rate.

    With the anchor at 0 a step maps (w, b) to ((w - rate b') / (1 + r), b') with
    b' = mu b + h w: determinant mu / (1 + r), trace (1 - rate h) / (1 + r) + mu.
    """
    largest = 1.9 * (2 / times + 1 / period) / SAFE
    optimizer = by_the_rule(times, period, 0.9)
    h = jnp.array([0.98, 1.02]) * largest

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(h * w, state, w)
        return (optax.apply_updates(w, updates), state), None

    start = jnp.ones(2)
    w, _ = jax.lax.scan(step, (start, optimizer.init(start)), length=2000)[0]

    assert abs(w[0]) < 1e-3
    assert not abs(w[1]) < 1e3


@pytest.mark.slow
def test_script_runs(tmp_path, capsys):
    choose_strength.main(tiny=True, out=tmp_path)

    text = (tmp_path / "choose_strength-digits.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "`python examples/choose_strength.py --data digits --tiny` on" in text
    assert "nan" not in text
    rows = (
        (tmp_path / "choose_strength-digits.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    assert rows[0].startswith("table,method,")
    assert len(rows) > 2
    for name in ("digits", "digits-seen"):
        assert (tmp_path / f"choose_strength-{name}.png").stat().st_size > 10_000


def seen_in(lambda_w):
    images = digits.load(validation=300)
    network = partial(digits.Network, 8)
    sgd = partial(optax.sgd, momentum=0.9)
    arguments = {"rate": 0.1, "lambda_w": lambda_w, "period": 5, "seed": 0}
    _, seen = choose_strength.train(network, sgd, 10, images[:2], **arguments)
    return np.asarray(seen)


def test_what_is_logged_is_of_the_pull():
    """Without one the ratio is 0; a strong one holds the parameters at the anchor."""
    free, held = seen_in(0.0), seen_in(1e6)

    assert not free[:, anchor_report.RATIO].any()
    firsts = held[::5, anchor_report.RATIO]
    assert not firsts.any()
    others = np.delete(np.arange(10), (0, 5))
    # r = 2e6: the distance is that of the step over 1 + r.
    ratio = held[others, anchor_report.NORM] / free[others, anchor_report.NORM]
    assert (ratio < 1e-5).all()
    assert (free[others, anchor_report.NORM] > 0.01).all()


def test_ends_are_the_last_steps_of_the_periods():
    """Means over two seeds and two periods of three steps."""
    steps = np.arange(6.0)[None, :, None] + [[[0.0]], [[10.0]]]
    seen = steps * np.array([1.0, 0.5, 2.0, 0.25])  # loss, ratio, norm, relative

    of_ends = anchor_report.at_ends(seen, 3)
    text = anchor_report.table({"first": of_ends, "twice": 2 * of_ends})

    ends = np.mean([2, 5, 12, 15])
    np.testing.assert_array_equal(of_ends[:, anchor_report.LOSS], [3.5, 13.5])
    assert (
        f"| first | {2 * ends:.4f} | 1.00 | {ends / 4:.4f} | {ends / 2:.2f} |" in text
    )
    assert f"| twice | {4 * ends:.4f} | 2.00 | {ends / 2:.4f} | {ends:.2f} |" in text


def test_the_safe_rate_is_the_best_of_the_means():
    scores = np.array([[0.9, 0.1], [0.6, 0.6], [0.5, 0.5]])
    assert choose_strength.best(np.array([1.0, 2.0, 3.0]), scores) == 2.0
