"""The examples of noisy targets and noisy gradients: they run, and say what they do."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import prox_optax

EXAMPLES = Path(__file__).parents[2] / "examples"

# 25 float64 steps in another order: rounding errors of 1e-16 on numbers of about 1,
# not amplified by these contractions.
TOLERANCE = 1e-12

T, PERIOD, ALPHA, GAMMA, C = 25, 7, 0.1, 0.9, 0.4
RNG = np.random.default_rng(0)
OBS, NEXT_OBS = RNG.normal(size=(2, T, 8, 4)) / 2  # 8 transitions an update, 4 features
ACTION = RNG.integers(3, size=(T, 8))
REWARD = RNG.normal(size=(T, 8))
W0 = RNG.normal(size=(3, 4))  # Q(s, a) = w[a] @ s


@pytest.fixture
def example(monkeypatch):
    """Import a script of examples/ as its command does: beside the other files."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    return importlib.import_module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn_pro", "private_training"])
def test_script_runs(name, example, tmp_path, capsys):
    example(name).main(tiny=True, out=tmp_path)

    text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert f"`python examples/{name}.py --tiny` on" in text
    assert "nan" not in text
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    first, *rows = (tmp_path / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    assert first.startswith("table,method,")
    assert len(rows) > 100


def td_gradient(xp, add_at, t, w, theta):
    """Of half the mean squared TD error of a linear Q, as a matrix like w."""
    goal = xp.asarray(REWARD)[t] + GAMMA * (xp.asarray(NEXT_OBS)[t] @ theta.T).max(1)
    s, a = xp.asarray(OBS)[t], xp.asarray(ACTION)[t]
    error = (w[a] * s).sum(1) - goal
    return add_at(w, a, error[:, None] * s / len(a))


def numpy_gradient(t, w, theta):
    def add_at(w, a, x):
        total = np.zeros_like(w)
        np.add.at(total, a, x)
        return total

    return td_gradient(np, add_at, t, w, theta)


def jax_gradient(t, w, theta):
    return td_gradient(jnp, lambda w, a, x: jnp.zeros_like(w).at[a].add(x), t, w, theta)


def sgd_step():
    return lambda t, g: ALPHA * g


def adam_step():
    m, v = np.zeros((2, *W0.shape))

    def step(t, g):
        nonlocal m, v
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.999 ** (t + 1))
        return ALPHA * m_hat / (np.sqrt(v_hat) + 1e-8)

    return step


def paper(step, late):
    """Compute w <- (1 - alpha/c) w + (alpha/c) theta - step of arXiv 2112.05848.

    The target moves to w every PERIOD updates: before the gradient, or (late) after it.
    """
    w, theta, trajectory = W0, W0, []
    for t in range(T):
        if t % PERIOD == 0 and not late:
            theta = w
        g = numpy_gradient(t, w, theta)
        if t % PERIOD == 0:
            theta = w
        w = (1 - ALPHA / C) * w + ALPHA / C * theta - step(t, g)
        trajectory.append(w)
    return np.array(trajectory)


def walk(step, w, state):
    """Return the parameters after each of T steps."""
    path = []
    for t in range(T):
        w, state = step(w, state, t)
        path.append(np.asarray(w))
    return np.array(path)


def ours(tx, late):
    """Keep the target as the anchor, moved by its period (late) or by set_anchor."""
    with jax.enable_x64(True):
        w = jnp.asarray(W0)
        state = tx.init(w)

        @jax.jit
        def step(w, state, t):
            if not late:
                due, move = t % PERIOD == 0, prox_optax.set_anchor
                state = jax.lax.cond(due, move, lambda state, w: state, state, w)
            g = jax_gradient(t, w, optax.tree.get(state, "anchor"))
            updates, state = tx.update(g, state, w)
            return optax.apply_updates(w, updates), state

        return walk(step, w, state)


@pytest.mark.parametrize("late", [True, False], ids=["by period", "by set_anchor"])
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_dqn_pro_is_the_papers_update(base, late, example):
    period = PERIOD if late else None
    if base == "sgd":
        pull = prox_optax.proximal(1 / (2 * C), period)
        tx, step = optax.chain(pull, optax.sgd(ALPHA)), sgd_step
    else:
        tx = example("dqn_pro").dqn_pro(ALPHA, ALPHA / C, period)
        step = adam_step

    expected = paper(step(), late)

    np.testing.assert_allclose(ours(tx, late), expected, rtol=0, atol=TOLERANCE)
    assert np.abs(expected - paper(step(), not late)).max() > 1e-4  # told apart


def test_polyak_target_is_an_exponential_average(example):
    """By hand: theta <- theta + tau (w - theta) before each step of Adam."""
    tau, step = 0.3, adam_step()
    tx = example("dqn_pro").dqn_pro(ALPHA, 0.0, 1, tau)
    w, theta, trajectory = W0, W0, []
    for t in range(T):
        g = numpy_gradient(t, w, theta)
        theta = theta + tau * (w - theta)
        w = w - step(t, g)
        trajectory.append(w)

    actual = ours(tx, late=True)

    np.testing.assert_allclose(actual, trajectory, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("double", [False, True], ids=["DQN", "Double DQN"])
def test_loss_takes_the_next_action_of_the_right_network(double, example):
    """To r + gamma (1 - end) Q_target(s', argmax_a Q(s', a)), Q target or online."""
    module = example("dqn_pro")
    key, other = jax.random.split(jax.random.key(0))
    rngs = [nnx.Rngs(x) for x in (key, other)]
    (graph, params), (_, target) = (nnx.split(nnx.Linear(4, 3, rngs=x)) for x in rngs)
    end = np.arange(8) % 2
    batch = OBS[0], ACTION[0], REWARD[0], end, NEXT_OBS[0]
    loss = module.loss(params, target, double, graph, [jnp.asarray(x) for x in batch])

    online, theirs = (
        lambda x, p=p: x @ np.float64(p["kernel"]) + np.float64(p["bias"])
        for p in (params, target)
    )
    best = (online if double else theirs)(NEXT_OBS[0]).argmax(axis=1)
    next_q = theirs(NEXT_OBS[0])[range(8), best]
    goal = REWARD[0] + module.DISCOUNT * (1 - end) * next_q
    wrong = np.abs(online(OBS[0])[range(8), ACTION[0]] - goal)
    huber = np.where(wrong <= 1, wrong**2 / 2, wrong - 1 / 2)
    np.testing.assert_allclose(loss, huber.mean(), rtol=1e-5)  # float32


def test_half_a_grid_has_each_value_equally_often(example):
    trials = example("tuning").half_grid(x=(1, 2, 3, 4), y=(5, 6, 7), z=(8, 9))

    points = set(zip(*trials.values(), strict=True))
    assert len(points) == len(trials["x"]) == 12
    for values, times in zip(trials.values(), (3, 4, 6), strict=True):
        assert set(np.unique(values, return_counts=True)[1]) == {times}


PER_EXAMPLE = RNG.normal(size=(T, 8, 6))


def private_steps(tx):
    """Return the parameters after each step on gradients grad_i + w of 8 examples."""
    with jax.enable_x64(True):
        w = jnp.asarray(W0.ravel()[:6])
        state = tx.init(w)

        @jax.jit
        def step(w, state, t):
            grads = jnp.asarray(PER_EXAMPLE)[t] + w[None]
            updates, state = tx.update(grads, state, w)
            return optax.apply_updates(w, updates), state

        return walk(step, w, state)


def transcription(strength, lambda_w, S, inner, noise):
    """Plain NumPy: the mean gradient and its noise, then either pull."""
    w, trajectory = W0.ravel()[:6], []
    for t in range(T):
        if t % S == 0:
            a = w
        g = PER_EXAMPLE[t].mean(0) + w + noise[t] + 2 * strength * (w - a)
        u = -ALPHA / (t % inner + 1) * g
        w = w + (u - 2 * lambda_w * (w - a)) / (1 + 2 * lambda_w)
        trajectory.append(w)
    return np.array(trajectory)


PULLS = [(0.5, 0.0, 1), (0.0, 0.2, 1), (0.0, 0.0, 10)]


@pytest.mark.parametrize(("strength", "lambda_w", "inner"), PULLS)
def test_without_noise_private_training_is_training_with_the_pull(
    strength, lambda_w, inner, example, monkeypatch
):
    module = example("private_training")
    monkeypatch.setattr(module, "CLIP", 1e6)  # no gradient is clipped
    tx = module.optimizer(ALPHA, strength, lambda_w, inner, 0.0, jax.random.key(0))

    expected = transcription(strength, lambda_w, module.PERIOD, inner, [0.0] * T)

    np.testing.assert_allclose(private_steps(tx), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("strength", "lambda_w", "inner"), PULLS)
def test_the_pull_leaves_the_noise_as_it_is(
    strength, lambda_w, inner, example, monkeypatch
):
    """The noise of plain DP-SGD, put into the transcription, gives the same run."""
    module = example("private_training")
    monkeypatch.setattr(module, "CLIP", 1e3)
    key = jax.random.key(0)
    with jax.enable_x64(True):
        aggregate = optax.contrib.differentially_private_aggregate(1e3, 0.01, key)
        state, noise = aggregate.init(()), []
        for _ in range(T):
            draw, state = aggregate.update(jnp.zeros((8, 6)), state)
            noise.append(np.asarray(draw))
    tx = module.optimizer(ALPHA, strength, lambda_w, inner, 0.01, key)

    expected = transcription(strength, lambda_w, module.PERIOD, inner, noise)

    np.testing.assert_allclose(private_steps(tx), expected, rtol=0, atol=TOLERANCE)
    assert np.std(noise) > 0.5


def test_the_best_in_tuning_is_tested_on_as_many_fresh_lanes(example):
    """By hand: a's score is highest at x = 2, b's where y = 7 and x is nearest to 2."""
    tuning = example("tuning")
    methods = {
        "a": tuning.grid(x=(1.0, 2.0, 3.0, 4.0)),
        "b": tuning.grid(x=(3.0, 5.0), y=(0.0, 7.0)),
    }

    tuned = tuning.tune_then_test(
        lambda x, y, seed: y + seed - (x - 2) ** 2,
        lambda x, y, seed: jnp.stack([x, y, seed], axis=1),
        methods,
        seeds=range(3),
        fresh=100,
        y=-1.0,
    )

    fresh = np.arange(100, 112)  # 8 points of 3 seeds are 24 lanes, for 2 methods
    for name, best in {"a": (2.0, -1.0), "b": (3.0, 7.0)}.items():
        assert tuned[name].scores.shape == (4, 3)
        expected = np.column_stack([np.tile(best, (12, 1)), fresh])
        np.testing.assert_array_equal(tuned[name].outcome, expected)
    assert (str(tuned["a"]), str(tuned["b"])) == ("x 2", "x 3 (edge), y 7 (edge)")
