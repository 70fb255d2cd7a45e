"""Many tasks in series: what is measured, what is compared, what a report says."""

import itertools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import staged_run

from benchmarks import experiments, models
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments.plasticity import DECOUPLED, METHODS, PLASTICITY
from benchmarks.optimizers import OPTIMIZERS, continual, finetune
from benchmarks.optimizers.method import Method, Settings, Setup
from benchmarks.optimizers.plasticity import shrunk_and_perturbed
from benchmarks.report import plasticity, tables, trials
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare
from benchmarks.tasks.plasticity import RandomLabels
from benchmarks.training import loop
from benchmarks.training.keys import order_key
from benchmarks.training.task import Task

BATCH, RATE = 4, 0.5
SETTINGS = Settings(momentum=0.9, weight_decay=0.0, period=2, b2=0.99)
PROBLEM = RandomLabels(
    data="drawn",
    train=None,
    validation=6,
    test=6,
    split_seed=0,
    images=10,
    pooled=1,
    hidden=(8, 7),
    tasks=3,
    passes=2,
)


@pytest.fixture(scope="module")
def data_set():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(30, 6)), jnp.float32)
    split = Split(images, jnp.arange(30) % 3)
    return ImageSet(split, split, split, 3, jnp.zeros(1), jnp.ones(1), "drawn")


@pytest.fixture(scope="module")
def task(data_set):
    found = PROBLEM.task(data_set, BATCH)
    compiled = jax.jit(found.init), jax.jit(found.batches)
    return found._replace(init=compiled[0], batches=compiled[1])


def logits(layers, x):
    """Compute the logits of layers without a norm."""
    for layer in layers[:-1]:
        x = jnp.maximum(x @ layer["kernel"] + layer["bias"], 0)
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]


@pytest.mark.parametrize("rate", [0.0, RATE])
def test_online_accuracy_is_taken_before_each_update(rate, task, data_set):
    """Against a plain loop; fractions of 4 images are summed in float32."""
    params, online = task.init(jax.random.key(1))
    w, by_hand = params["network"], []
    loss = jax.jit(jax.value_and_grad(task.players["network"], has_aux=True))
    for number in range(PROBLEM.tasks):
        right = []
        for batch in zip(*task.batches(order_key(7), number), strict=True):
            places, labels, _ = batch
            with jax.numpy_rank_promotion("allow"):
                found = logits(w, data_set.train.images[places])
            right.append(np.mean(np.argmax(found, axis=1) == labels))
            given = {"network": w}, online, data_set.train, batch, None
            (_, (online, measures)), grads = loss(*given)
            assert measures["accuracy"] == pytest.approx(right[-1])
            w = jax.tree.map(lambda w, g: w - rate * g, w, grads["network"])
        by_hand.append(np.mean(right))
    np.testing.assert_allclose(online, by_hand, rtol=1e-5)


def test_an_evaluation_reads_means(task):
    problem = replace(PLASTICITY.problem, hidden=(2,))
    online = np.random.default_rng(0).uniform(size=problem.tasks).astype(np.float32)
    split = Split(jnp.zeros((9, 4)), jnp.zeros(9, jnp.int32))
    drawn = ImageSet(split, split, split, 3, jnp.zeros(1), jnp.ones(1), "drawn")
    found = problem.task(drawn, BATCH).evaluate({}, jnp.asarray(online), split)
    assert {*found} == {*problem.score.labels}
    assert found.pop("online_accuracy") == pytest.approx(online.mean(), rel=1e-5)
    assert found.pop("last_fifth") == pytest.approx(online[80:].mean(), rel=1e-5)
    by_part = online.reshape(10, 10).mean(axis=1)
    np.testing.assert_allclose([*found.values()], by_part, rtol=1e-5)


def test_labels_are_new_in_each_task(task):
    """The images stay; each pass shows all of them, 10 in batches of 4."""

    def shown(seed, number):
        places, labels, of = task.batches(order_key(seed), number)
        assert places.shape == labels.shape == (5, BATCH)
        assert {*np.asarray(of)} == {min(number, PROBLEM.tasks - 1)}
        first, second = np.asarray(places).ravel().reshape(2, 10)
        assert {*first} == {*second}
        assert len({*first}) == 10
        both = np.ravel(places), np.ravel(labels)
        found = {*zip(*both, strict=True)}
        assert len(found) == 10  # an image has one label
        return dict(found)

    first, second, other = shown(0, 0), shown(0, 1), shown(7, 0)
    assert first.keys() == second.keys() != other.keys()
    assert first != second
    assert shown(0, 3).keys() == first.keys()
    every = [label for n in range(30) for label in shown(0, n).values()]
    # 300 draws of 3 labels: four standard deviations of a count
    np.testing.assert_allclose(np.bincount(every), 100, atol=4 * (300 * 2 / 9) ** 0.5)


def test_inputs_are_means_of_squares():
    problem = replace(
        PROBLEM, data="digits", train=100, validation=50, test=50, pooled=2
    )
    found = problem.load(None).train
    raw = replace(problem, pooled=1).load(None).train
    np.testing.assert_array_equal(found.labels, raw.labels)
    pixels = np.asarray(raw.images).reshape(100, 8, 8)
    assert found.images.shape == (100, 16)
    for row, column in itertools.product(range(4), repeat=2):
        square = pixels[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        mean = square.mean(axis=(1, 2))
        np.testing.assert_allclose(found.images[:, 4 * row + column], mean, atol=1e-6)


FORMS = {
    "adam, l2 to 0, coupled": ("coupled", 0.0),
    "adam, l2 to 0, decoupled": ("decay", 0.0),
    "adam, l2 init, coupled": ("coupled", 1.0),
    DECOUPLED: ("decoupled", 1.0),
}


@pytest.mark.parametrize("name", FORMS)
def test_pulls_are_their_equations(name):
    """Adam in NumPy, in float64: 20 steps of order 0.1, each rounded to 6e-8."""
    form, share = FORMS[name]
    start = np.array([1.0, -2.0, 0.5])
    a, w, m, v = share * start, start, 0.0, 0.0
    gradients = np.random.default_rng(0).normal(size=(20, 3))
    rate, strength = 0.1, 0.7
    numbers = {"learning_rate": jnp.float32(rate), "strength": jnp.float32(strength)}
    tx = OPTIMIZERS[name].make(Setup(numbers, lambda t: 1.0, SETTINGS, BATCH))
    found = jnp.asarray(start, jnp.float32)
    state, update = tx.init(found), jax.jit(tx.update)
    for t, g in enumerate(gradients):
        updates, state = update(jnp.asarray(g, jnp.float32), state, found)
        found = optax.apply_updates(found, updates)
        g = g + 2 * strength * (w - a) * (form == "coupled")
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        u = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
        r = 2 * rate * strength
        after = {
            "coupled": w - rate * u,
            "decay": w - rate * u - r * w,
            "decoupled": (w - rate * u + r * a) / (1 + r),
        }
        w = after[form]
        np.testing.assert_allclose(found, w, rtol=0, atol=1e-5)


def test_shrink_and_perturb_is_its_equation():
    """What the equation leaves is N(0, 1): 4 standard errors of 3 x 4000 draws."""
    shrink, noise, size = 0.1, 0.01, (2, 2000)
    tx = shrunk_and_perturbed(shrink, noise)
    w = {"a": jnp.linspace(-1.0, 1.0, 4000).reshape(size)}
    state, update, left_over = tx.init(w), jax.jit(tx.update), []
    for step, u in enumerate((0.3, -0.2, 0.0)):
        key = jax.random.key(step)
        new, state = update({"a": jnp.full(size, u)}, state, w, key=key)
        after = optax.apply_updates(w, new)
        rest = np.asarray(after["a"]) - (1 - shrink) * (np.asarray(w["a"]) + u)
        left_over.append(rest.ravel() / noise)
        w = after
    error = 4000**-0.5
    np.testing.assert_allclose(np.mean(left_over, axis=1), 0, atol=4 * error)
    np.testing.assert_allclose(np.std(left_over, axis=1), 1, atol=4 * error / 2**0.5)
    between_steps = np.corrcoef(left_over)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(between_steps, 0, atol=4 * error)


def test_shrink_and_perturb_follows_adam():
    """Without noise it is Adam's step, shrunk; rounded to 6e-8."""
    numbers = {"learning_rate": 0.1, "shrink": 0.2, "perturb": 0.0}
    arrays = {key: jnp.float32(x) for key, x in numbers.items()}
    setup = Setup(arrays, lambda t: 1.0, SETTINGS, BATCH)
    w, g = jnp.array([1.0, -2.0]), jnp.array([0.3, 3.0])
    reached = {}
    for name in ("adam", "adam, shrink and perturb"):
        tx = optax.with_extra_args_support(OPTIMIZERS[name].make(setup))
        updates, _ = tx.update(g, tx.init(w), w, key=jax.random.key(0))
        reached[name] = optax.apply_updates(w, updates)
    found = reached["adam, shrink and perturb"]
    np.testing.assert_allclose(found, 0.8 * reached["adam"], rtol=1e-6)


def test_the_loop_gives_a_key_that_is_new_in_each_step():
    """One weight holds what was drawn last: for each seed and step another number."""

    def drawing(setup):
        def update(updates, state, params=None, **extra):
            drawn = optax.tree.random_like(extra["key"], params)
            return jax.tree.map(jnp.subtract, drawn, params), state

        return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)

    one = Task(
        init=lambda key: ({"network": jnp.float32(0)}, ()),
        batches=lambda key, epoch: jnp.arange(2),
        players={"network": lambda params, stats, *_: (0.0, (stats, {}))},
        evaluate=lambda params, stats, data: {},
    )
    methods = {"draw": Method(drawing).bind(lambda t: 1.0, SETTINGS, 1)}
    numbers, seeds = {"draw": {"learning_rate": jnp.zeros(2)}}, jnp.arange(3)
    lanes, seen = loop.init_lanes(one, methods, numbers, seeds), []
    train = jax.jit(lambda *x: loop.epoch(one, methods, *x, part=1))
    for epoch, first in itertools.product(range(2), repeat=2):
        lanes = train(lanes, (), numbers, seeds, epoch, first)
        seen.append(lanes["draw"].params["network"])
    seen = np.asarray(seen)
    np.testing.assert_array_equal(seen[..., 0], seen[..., 1])  # both trials
    assert len(np.unique(seen)) == 4 * 3


IN_SERIES = {**continual.OPTIMIZERS, **finetune.OPTIMIZERS}
ALONE = [x for x in OPTIMIZERS if x not in IN_SERIES]


@pytest.mark.parametrize("name", ALONE)
def test_optimizers_take_a_key(name):
    """Those of tasks in series take a lesson too, and have tests of their own."""
    method, w = OPTIMIZERS[name], [{"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}]
    numbers = dict.fromkeys(("learning_rate", "strength", *method.numbers), 0.1)
    setup = Setup(numbers, lambda t: 1.0, SETTINGS, BATCH)
    tx, start = optax.with_extra_args_support(method.make(setup)), method.start(w)
    grads, key = method.gradient_at(start), jax.random.key(0)
    jax.eval_shape(lambda: tx.update(grads, tx.init(start), start, key=key))


def test_layers_are_their_equations():
    """Sums in float32 in another order: 1e-5 of outputs of order 1."""
    plain = jax.jit(lambda key: models.draw_layers(key, (6, 8, 7, 3)))(
        jax.random.key(0)
    )
    for layer, inputs in zip(plain, (6, 8, 7), strict=True):
        flat = np.concatenate([np.ravel(x) for x in layer.values()])
        assert 0.8 * inputs**-0.5 < np.abs(flat).max() <= inputs**-0.5
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        expected = logits(plain, x)
    np.testing.assert_allclose(models.apply_layers(plain, x), expected, atol=1e-5)
    own = OPTIMIZERS["adam, layer norm"].start(plain)
    own[0]["scale"], own[1]["shift"] = jnp.arange(8.0), jnp.arange(7.0)
    hidden = x
    for layer in jax.tree.map(np.asarray, own[:-1]):
        h = hidden @ layer["kernel"] + layer["bias"]
        h = (h - h.mean(axis=1)[:, None]) / np.sqrt(h.var(axis=1)[:, None] + 1e-5)
        hidden = np.maximum(h * layer["scale"] + layer["shift"], 0)
    expected = hidden @ np.asarray(plain[-1]["kernel"]) + np.asarray(plain[-1]["bias"])
    np.testing.assert_allclose(models.apply_layers(own, x), expected, atol=1e-5)


def test_the_experiment_is_one_epoch_a_task():
    assert PLASTICITY.epochs == PLASTICITY.problem.tasks
    tiny = experiments.tiny(PLASTICITY)
    assert tiny.epochs == tiny.problem.tasks
    assert [*PLASTICITY.primary] == [(DECOUPLED, peer) for peer in METHODS[:3]]


META = staged_run.meta(
    replace(PROBLEM, tasks=4).score._asdict(), "pulled", tasks=4, epochs=4
)
# Trial 1 of "plain" is the best on the test seeds alone.
TUNING = {("plain", 0): 0.5, ("plain", 1): 0.4, ("pulled", 0): 0.6, ("pulled", 1): 0.8}
TEST = {("plain", 0): 0.3, ("plain", 1): 0.9, ("pulled", 0): 0.6, ("pulled", 1): 0.7}


@pytest.fixture
def metrics():
    """Seeds 5 and 6 tune; 7 to 9 test, with a shift that both methods share."""
    rows = []
    made = staged_run.trials(TUNING, TEST, "strength", (1.0, 3.0), epochs=(4,))
    for row, split, value in made:
        value += 0.01 * (row["seed"] - 8)
        parts = {f"{split}_part_{n}": value - 0.1 * n for n in range(1, 5)}
        rows.append(
            {
                **row,
                f"{split}_online_accuracy": value,
                f"{split}_last_fifth": value / 2,
                **parts,
            }
        )
    return pd.DataFrame(rows)


def test_tuning_seeds_choose(metrics):
    assert trials.chosen(metrics, META) == {"plain": 0, "pulled": 1}
    assert trials.shown_trials(metrics, META, "pulled") == (1,)
    found = trials.tested(metrics, META)["pulled"]
    assert [*found.seed] == [7, 8, 9]
    np.testing.assert_allclose(found.test_online_accuracy, [0.69, 0.7, 0.71])


def test_the_report_of_known_rows(metrics, tmp_path):
    """Half an interval is 4.303 standard errors, 0.01 / 3**0.5, with n = 3.

    The last fifth is half of each value, and so is its interval.
    """
    text = tables.drawing(META)(tmp_path, metrics, META)
    assert (tmp_path / "online_accuracy.png").stat().st_size > 1000
    flat = " ".join(text.split())
    assert "| pulled | 0.7000 +- 0.0248 | 0.6000 +- 0.0248 | 0.3500 +- 0.0124" in flat
    assert "learning rate 0.2 (edge), strength 3 (edge)" in flat
    assert "pulled - plain (primary) | +0.4000 +- 0.0000 * | " in flat
    assert "+0.2000 +- 0.0000 *" in flat
    figure = plasticity.along(metrics, META)
    assert "n = 3 seeds" in figure.get_suptitle()
    plain, _ = figure.subfigs[0].axes[0].containers
    np.testing.assert_allclose(plain.lines[0].get_xdata(), [0.5, 1.5, 2.5, 3.5])
    expected = [0.2, 0.1, 0.0, -0.1]
    found = np.asarray(plain.lines[0].get_ydata(), float)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_only_the_chosen_trials_of_test_seeds_are_read(metrics, tmp_path):
    """The report stays the same, to the byte."""
    text = plasticity.draw(tmp_path, metrics, META)
    chosen = trials.chosen(metrics, META)
    needed = (metrics.seed < 7) | (metrics.trial == metrics.optimizer.map(chosen))
    assert needed.sum() < len(metrics)
    assert plasticity.draw(tmp_path, metrics[needed], META) == text


class Stopping(Deadline):
    """Stop before the second part."""

    left = 1

    def allows(self, *kinds):
        self.left -= "compile" not in kinds
        return self.left >= 0


@pytest.mark.slow
def test_a_run_that_goes_on_and_its_report(tmp_path):
    """What was measured before the stop stands beside what came after it."""
    tiny = experiments.tiny(PLASTICITY)
    small = replace(
        tiny,
        problem=replace(tiny.problem, data="digits"),
        groups=(("", ("adam", DECOUPLED)),),
        contrasts=((DECOUPLED, "adam"),),
        primary=(),
    )
    assert not execute(prepare(small, "a test", tmp_path, resume=False), Stopping())
    assert execute(prepare(small, "a test", tmp_path, resume=True))
    rows = pd.read_csv(tmp_path / "metrics.csv")
    for seed, split, each in ((0, "validation", 2), (1, "test", 1)):
        own = rows[rows.seed == seed]
        assert len(own) == 2 * each  # of both methods, after the last task
        first, last = own[f"{split}_part_1"], own[f"{split}_part_2"]
        assert (first > 0).all()
        # rounded to 6 decimals
        np.testing.assert_allclose(
            own[f"{split}_online_accuracy"], (first + last) / 2, atol=2e-6
        )
    text = tables.report(tmp_path, "a test")
    assert f"{DECOUPLED} - adam" in text
    written = json.loads((tmp_path / "meta.json").read_text())["experiment"]
    assert (written["tasks"], written["tuning_seeds"]) == (2, 1)
