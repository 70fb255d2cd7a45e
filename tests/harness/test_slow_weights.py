"""The comparison of slow weights: its methods, its schedule, its choice, its report."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import staged_run
from scipy import stats

from benchmarks import experiments
from benchmarks.experiments.outer import ADAMW, OUTER
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.optimizers.method import Settings, Setup
from benchmarks.report import tables, trials
from benchmarks.runs import grid, weights
from benchmarks.runs.execute import describe, execute, prepare
from benchmarks.tasks.language import Text

SETTINGS = Settings(momentum=0.0, weight_decay=0.0, period=10, b2=0.99)
RATE, DECAY, STEPS = 0.1, 0.2, 12
START = jnp.array([1.0, -2.0, 0.5])
GRADIENTS = jax.random.normal(jax.random.key(0), (STEPS, 3))


def reached(name, start=START, gradients=GRADIENTS, **numbers):
    """Return the parameters that are evaluated after each step."""
    method = OPTIMIZERS[name]

    @jax.jit
    def path(numbers):
        tx = method.make(Setup(numbers, lambda t: 1.0, SETTINGS, 4))

        def step(carry, g):
            w, state = carry
            updates, state = tx.update(g, state, w)
            w = optax.apply_updates(w, updates)
            return (w, state), method.evaluated(w, state)

        return jax.lax.scan(step, (start, tx.init(start)), gradients)[1]

    all_numbers = {"learning_rate": RATE, "decay": DECAY} | numbers
    return path({name: jnp.float32(x) for name, x in all_numbers.items()})


def adamw_steps():
    """AdamW's step at any parameters, in NumPy and float64: a function of (w, t)."""
    m, v = 0.0, 0.0
    for t, g in enumerate(np.asarray(GRADIENTS, np.float64)):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        u = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
        yield lambda w, u=u: w - RATE * (u + DECAY * w)


@pytest.mark.parametrize(
    ("name", "numbers", "rate", "momentum"),
    [
        ("adamw, lookahead", {"outer_rate": 0.4}, 0.4, 0.0),
        ("adamw, snoo", {"momentum": 0.6}, 0.7, 0.6),
        ("adamw, snoo", {"momentum": 0.6, "outer_rate": 1.0}, 1.0, 0.6),
    ],
)
def test_slow_weights_are_their_equations(name, numbers, rate, momentum):
    """In NumPy; float32 rounds 12 steps of order 0.1 to 6e-8 each, here as below."""
    found = reached(name, period=4.0, **numbers)
    w = a = np.asarray(START, np.float64)
    b, expected = 0.0, []
    for t, step in enumerate(adamw_steps(), 1):
        w = step(w)
        if t % 4 == 0:
            d = a - w
            b = d + momentum * b
            w = a = a - rate * (d + momentum * b)
        expected.append(a)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_lookahead_is_that_of_optax():
    found = reached("adamw, lookahead", outer_rate=0.4, period=4.0)
    tx = optax.lookahead(optax.adamw(RATE, b2=0.99, weight_decay=DECAY), 4, 0.4)
    params = optax.LookaheadParams.init_synced(START)
    state, expected, update = tx.init(params), [], jax.jit(tx.update)
    for g in GRADIENTS:
        updates, state = update(g, state, params)
        params = optax.tree.add(params, updates)
        expected.append(params.slow)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


def test_peers_are_adamw_and_its_average():
    w = average = np.asarray(START, np.float64)
    plain, averages = [], []
    for step in adamw_steps():
        average = average + 0.3 * (w - average)  # of the parameters before the step
        w = step(w)
        plain.append(w)
        averages.append(average)
    np.testing.assert_allclose(reached(ADAMW), plain, atol=1e-5)
    found = reached("adamw, weight average", average_step=0.3)
    np.testing.assert_allclose(found, averages, atol=1e-5)


@pytest.mark.parametrize("name", ["schedule-free adamw, decay tuned", "muon, snoo"])
def test_others_take_their_decay(name):
    """In matrices and in vectors, which Muon leaves to Adam."""
    own = {key: x[0] for key, x in OPTIMIZERS[name].numbers.items() if key != "decay"}
    start, gradients = (
        {"kernel": jnp.ones((3, 3)), "scale": START},
        {
            "kernel": GRADIENTS[:, :, None] * GRADIENTS[:, None, :],
            "scale": GRADIENTS,
        },
    )
    with_and_without = [
        reached(name, start, gradients, **{**own, "period": 2.0, "decay": decay})
        for decay in (0.0, 0.2)
    ]
    for one, other in zip(*map(jax.tree.leaves, with_and_without), strict=True):
        assert np.abs(one - other).max() > 1e-3


def test_the_rate_falls_along_a_cosine():
    """The description of an experiment without it stays as it was."""
    program = grid.programs(OUTER)[0]
    method = grid.methods(OUTER, program, steps=100)[ADAMW]
    numbers = {"learning_rate": jnp.float32(2.0), "decay": jnp.float32(0.0)}
    tx, w = method.make(numbers), jnp.ones(1)
    state, moved = tx.init(w), []
    update = jax.jit(tx.update)
    for _ in range(100):
        updates, state = update(jnp.ones(1), state, w)
        moved.append(-float(updates[0]))
    # Adam's steps are as large as the rate at equal gradients, to eps = 1e-8.
    expected = 1 + np.cos(np.pi * np.arange(100) / 100)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


META = staged_run.meta(OUTER.problem.score._asdict(), "slow", items="windows", epochs=2)
# The best trials of the tuning seeds are 1 and 0; of the test seeds they are 0 and 1.
TUNING = {("plain", 0): 3.0, ("plain", 1): 2.0, ("slow", 0): 2.0, ("slow", 1): 2.5}
TEST = {("plain", 0): 1.0, ("plain", 1): 2.4, ("slow", 0): 2.2, ("slow", 1): 1.5}
SHIFTS = {7: -0.03, 8: 0.0, 9: 0.06}


@pytest.fixture
def metrics():
    """Seeds 5 and 6 tune; 7 to 9 test, where "slow" has a shift of its own.

    After the first epoch the other trials are ahead.
    """
    rows = []
    made = staged_run.trials(TUNING, TEST, "period", (30.0, 100.0), epochs=(1, 2))
    for row, split, value in made:
        name, trial = row["optimizer"], row["trial"]
        value += [2.0, 4.0 if name == "plain" else 0.0][trial] * (row["epoch"] == 1)
        value += SHIFTS.get(row["seed"], 0.0) * (name == "slow")
        rows.append({**row, f"{split}_bits_per_byte": value})
    return pd.DataFrame(rows)


def test_the_report_of_known_rows(metrics, tmp_path):
    """The t test is scipy's; of 8 changes of three signs 4 give a mean as large."""
    assert trials.chosen(metrics, META) == {"plain": 1, "slow": 0}
    text = tables.drawing(META)(tmp_path, metrics, META)
    assert (tmp_path / "bits_per_byte.png").stat().st_size > 1000
    flat = " ".join(text.split())
    assert "| plain | 2.4000 +- 0.0000 | learning rate 0.2 (edge) |" in flat
    assert "learning rate 0.1 (edge), period 30 (edge) |" in flat
    pairs = np.array([-0.23, -0.2, -0.14])
    half = stats.t.ppf(0.975, 2) * stats.sem(pairs)
    p = stats.ttest_1samp(pairs, 0).pvalue
    assert f"slow - plain (primary) | -0.1900 +- {half:.4f} * | {p:.2g} |" in flat
    assert f"| {p:.2g} | 0.25 |" in flat
    assert "3 test seeds" in flat


def test_only_the_chosen_trials_of_test_seeds_are_read(metrics, tmp_path):
    text = trials.draw(tmp_path, metrics, META)
    chosen = trials.chosen(metrics, META)
    needed = (metrics.seed < 7) | (metrics.trial == metrics.optimizer.map(chosen))
    assert needed.sum() < len(metrics)
    assert trials.draw(tmp_path, metrics[needed], META) == text
    assert trials.shown_trials(metrics, META, "slow") == (0,)


@pytest.mark.slow
def test_a_tiny_run_and_its_report(tmp_path):
    """Weights of the chosen trial are kept, though its place is another in the test."""
    data, out = tmp_path / "words.txt", tmp_path / "out"
    data.write_text("to be or not to be, that is the question.\n" * 50)
    name = "adamw, snoo"
    problem = OUTER.problem.tiny()
    assert isinstance(problem, Text)
    small = replace(
        experiments.tiny(OUTER),
        groups=(("", (name,)),),
        contrasts=(),
        primary=(),
        learning_rates=(1e-6, 0.01),  # the second trial is the best
        values=((name, "decay", (0.1,)), (name, "period", (4.0,))),
        part=8,
    )
    assert execute(prepare(small, "a test", out, resume=False, data_dir=data))
    rows = pd.read_csv(out / "metrics.csv")
    assert [*zip(rows.seed, rows.trial, strict=True)] == [(100, 0), (100, 1), (101, 1)]
    assert "| adamw, snoo | " in tables.report(out, "a test")
    meta = json.loads((out / "meta.json").read_text())
    assert meta["experiment"]["cosine"] is True
    plain = describe(replace(small, cosine=False), small.problem.load(data))
    assert "cosine" not in plain["experiment"]
    kept = weights.load(out, problem.abstract())
    assert {*kept} == {"batch 4, adamw, snoo"}
