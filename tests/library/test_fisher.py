"""The Fisher information: of examples, from Adam, and of several tasks in one.

The oracle of `fisher_diagonal` is logistic regression in NumPy float64, where the score
of an example is known in closed form; that of `fisher_from_adam` is Adam's recursion in
NumPy; that of `consolidate` is the sum of the quadratics.
"""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from prox_optax import (
    consolidate,
    fisher_diagonal,
    fisher_from_adam,
    proximal,
    set_anchor,
)

N, FEATURES = 7, 3
RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(N, FEATURES)).astype(np.float32)
LABELS = (RNG.random(N) < 0.5).astype(np.float32)
PARAMS = {"b": jnp.float32(0.3), "w": jnp.array([0.5, -1.0, 2.0])}
ROUNDING = 1e-5  # of a sum of seven squares in float32


def logistic(params, example):
    """Negative log-likelihood of a label, 0 or 1."""
    x, y = example
    logit = x @ params["w"] + params["b"]
    return jnp.logaddexp(0.0, logit) - y * logit


def in_closed_form(labels=LABELS):
    """Square the scores: (p - y) x of an example, p - y of the bias."""
    x, w, b = (np.asarray(v, np.float64) for v in (PIXELS, PARAMS["w"], PARAMS["b"]))
    p = 1 / (1 + np.exp(-(x @ w + b)))
    residual = p - labels
    return {
        "b": np.mean(residual**2),
        "w": np.mean((residual[:, None] * x) ** 2, axis=0),
    }


def assert_close(found, expected, rtol=ROUNDING):
    chex.assert_trees_all_close(found, expected, rtol=rtol)


@pytest.mark.parametrize("batch_size", [None, *range(1, N + 2), np.int64(3)])
def test_it_is_the_mean_of_squared_scores(batch_size):
    """Also where the batch size does not divide the number of examples."""
    examples = (PIXELS, LABELS)
    found = fisher_diagonal(logistic, PARAMS, examples, batch_size=batch_size)
    assert_close(found, in_closed_form())
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(found))


def test_labels_may_be_drawn_by_the_model():
    """From a key in the example; the oracle gets the labels that were drawn."""
    keys = jax.random.split(jax.random.key(1), N)

    def drawn(params, x, key):
        p = jax.nn.sigmoid(x @ params["w"] + params["b"])
        return jax.random.bernoulli(key, p).astype(jnp.float32)

    def loss(params, example):
        x, key = example
        return logistic(params, (x, drawn(params, x, key)))

    labels = jax.vmap(partial(drawn, PARAMS))(PIXELS, keys)
    found = fisher_diagonal(loss, PARAMS, (PIXELS, keys), batch_size=2)
    assert_close(found, in_closed_form(np.asarray(labels)))


def test_a_network_of_nnx_and_its_state_as_a_strength():
    """It goes into `proximal`, and pulls each weight by its own Fisher information."""
    model = nnx.Linear(FEATURES, 1, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model, nnx.Param)

    def loss(params, example):
        x, y = example
        return jnp.sum((nnx.merge(graph, params)(x) - y) ** 2)

    fisher = fisher_diagonal(loss, params, (PIXELS, LABELS))
    chex.assert_trees_all_equal_structs(fisher, params)
    optimizer = nnx.Optimizer(
        model, optax.chain(proximal(fisher, period=None), optax.sgd(1.0)), wrt=nnx.Param
    )
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = set_anchor(optimizer.opt_state, zeros)
    optimizer.opt_state = state
    expected = jax.tree.map(lambda f, w: w - 2 * f * w, fisher, params)
    optimizer.update(model, zeros)
    moved = nnx.state(model, nnx.Param)
    chex.assert_trees_all_close(
        jax.tree.leaves(moved), jax.tree.leaves(expected), rtol=1e-5
    )


def test_dtypes():
    """Squares are taken in float32 or wider; of complex parameters they are real."""
    tiny = jnp.array([1e-3, 2e-3], jnp.bfloat16)  # squares below 2**-16 vanish in fp16
    found = fisher_diagonal(lambda w, x: jnp.sum(w * x), tiny * 0, tiny[None])
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.asarray(tiny, np.float32) ** 2)
    with jax.enable_x64(True):
        wide = fisher_diagonal(lambda w, x: w * x, jnp.float64(0.0), np.array([3.0]))
        assert wide.dtype == jnp.float64
    z = jnp.array([1 + 2j])
    found = fisher_diagonal(lambda w, x: jnp.sum(jnp.real(w * x)), z, jnp.array([[2j]]))
    np.testing.assert_array_equal(found, np.array([4.0], np.float32))


def test_memory_is_bounded_by_the_batch_size():
    """Gradients of 64 examples at once are not made two at a time."""
    w, xs = jnp.ones(10_000), jnp.ones((64, 1))

    def temporary(batch_size):
        f = partial(
            fisher_diagonal, lambda w, x: jnp.sum(jnp.sin(w * x)), batch_size=batch_size
        )
        analysis = jax.jit(f).lower(w, xs).compile().memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporary(2) <= 10 * w.nbytes


@pytest.mark.usefixtures("cpu")  # a mesh takes eight devices
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_it_lies_where_the_params_lie(kind):
    """Outside jit and under it, on a mesh of eight devices."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    sharding = NamedSharding(mesh, P("data"))
    rows = RNG.normal(size=(5, 16)).astype(np.float32)

    def loss(w, x):
        return jnp.sum(jnp.square(w * x))

    with jax.set_mesh(mesh):
        w = jax.device_put(np.arange(16.0, dtype=np.float32), sharding)
        for f in (fisher_diagonal, jax.jit(fisher_diagonal, static_argnums=(0,))):
            found = f(loss, w, rows)
            assert found.sharding.is_equivalent_to(sharding, 1)
        in_parts = fisher_diagonal(loss, w, rows, batch_size=2)
    expected = np.mean((2 * np.arange(16) * rows.astype(np.float64) ** 2) ** 2, axis=0)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)
    np.testing.assert_allclose(in_parts, expected, rtol=ROUNDING)


@pytest.mark.usefixtures("cpu")
def test_the_mean_over_devices_is_that_of_all_examples():
    """Each device squares the gradients of its own examples; a pmean joins them."""
    mesh = jax.make_mesh((7,), ("data",), axis_types=(AxisType.Auto,))
    keys = jax.random.split(jax.random.key(0), N)

    def loss(params, example):
        x, y, _ = example
        return logistic(params, (x, y))

    def own(params, examples):
        return jax.lax.pmean(fisher_diagonal(loss, params, examples), "data")

    over = jax.shard_map(own, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    assert_close(jax.jit(over)(PARAMS, (PIXELS, LABELS, keys)), in_closed_form())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda w, x: w * x, r"one real number, got float32\[2\]; return the negative"),
        (lambda w, x: (jnp.sum(w), x), r"got \('float32\[\]', 'float32\[\]'\)"),
        (lambda w, x: jnp.sum(w) * 1j, r"got complex64\[\]"),
        (lambda w, x: None, "got None"),
    ],
)
def test_a_loss_that_is_no_number(loss, message):
    with pytest.raises(ValueError, match=message):
        fisher_diagonal(loss, jnp.ones(2), jnp.ones(3))


@pytest.mark.parametrize(
    "examples", [jnp.ones((0, 2)), (jnp.ones(2), jnp.ones(3)), jnp.float32(1), (), None]
)
def test_examples_that_do_not_fit(examples):
    with pytest.raises(ValueError, match="examples must be arrays with the same"):
        fisher_diagonal(lambda w, x: w, jnp.float32(1), examples)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "batch_size must be at least 1, got 0; write batch_size=32"),
        (2.0, TypeError, "batch_size must be an integer, got 2.0"),
        (True, TypeError, "batch_size must be an integer, got True"),
    ],
)
def test_a_batch_size_that_is_none(size, error, message):
    with pytest.raises(error, match=message):
        fisher_diagonal(logistic, PARAMS, (PIXELS, LABELS), batch_size=size)


@pytest.mark.parametrize(
    ("leaf", "shown"), [(1, "1"), (jnp.arange(2), r"int32\[2\]"), (jax.nn.relu, "<")]
)
def test_params_without_a_gradient(leaf, shown):
    """Integers, and the functions that a whole Equinox model holds."""
    message = rf"params\['n'\] is {shown}.*floating or complex .*eqx\.partition"
    with pytest.raises(TypeError, match=message):
        fisher_diagonal(lambda w, x: w["w"], {"n": leaf, "w": 1.0}, jnp.ones(3))


# From Adam.

BATCH, B2 = 16, 0.9
GRADIENTS = RNG.normal(size=(4, 3)).astype(np.float32)
W = {"body": jnp.ones(3)}


def after_steps(tx, params=W, gradients=GRADIENTS):
    state = tx.init(params)
    for g in gradients:
        _, state = tx.update({"body": jnp.asarray(g)}, state, params)
    return state


def second_moment(gradients=GRADIENTS, b2=B2):
    """Adam's bias-corrected second moment, in float64."""
    v = np.zeros(3)
    for g in gradients.astype(np.float64):
        v = b2 * v + (1 - b2) * g**2
    return v / (1 - b2 ** len(gradients))


ADAM = partial(optax.adam, 1e-3, b2=B2)
WITH_ADAM = {
    "adam": ADAM(),
    "adamw": optax.adamw(1e-3, b2=B2),
    "nadam": optax.nadam(1e-3, b2=B2),
    "chain": optax.chain(ADAM(), proximal(0.0)),
    "inject": optax.inject_hyperparams(optax.adam)(1e-3, b2=B2),
    "masked": optax.masked(ADAM(), {"body": True}),
    "low precision of the first moment": ADAM(mu_dtype="bfloat16"),
}


@pytest.mark.parametrize("name", WITH_ADAM)
def test_it_is_the_second_moment_times_the_batch_size(name):
    found = fisher_from_adam(after_steps(WITH_ADAM[name]), batch_size=BATCH, b2=B2)
    assert list(found) == ["body"]
    assert_close(found["body"], BATCH * second_moment())


def test_under_jit_and_vmap():
    state = after_steps(ADAM())
    of = partial(fisher_from_adam, batch_size=BATCH, b2=B2)
    assert_close(jax.jit(of)(state), of(state))
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    assert_close(jax.vmap(of)(stack)["body"][1], of(state)["body"])
    with pytest.raises(ValueError, match=r"stack of 2 states; write jax\.vmap"):
        of(stack)


def test_accumulated_batches():
    """MultiSteps gives Adam the mean of two batches: the size of both counts."""
    state = after_steps(optax.MultiSteps(ADAM(), 2))
    means = GRADIENTS.reshape(2, 2, 3).mean(axis=1)
    found = fisher_from_adam(state, batch_size=2 * BATCH, b2=B2)
    assert_close(found["body"], 2 * BATCH * second_moment(means))


def test_masked_parts_have_no_fisher():
    params = {"body": jnp.ones(3), "head": jnp.ones(2)}
    tx = optax.masked(ADAM(), {"body": True, "head": False})
    gradients = {"body": jnp.asarray(GRADIENTS[0]), "head": jnp.ones(2)}
    _, state = tx.update(gradients, tx.init(params), params)
    found = fisher_from_adam(state, batch_size=BATCH, b2=B2)
    assert isinstance(found["head"], optax.MaskedNode)
    assert_close(found["body"], BATCH * GRADIENTS[0] ** 2)


def test_a_low_precision_is_widened():
    w = {"body": jnp.ones(3, jnp.bfloat16)}
    tx = ADAM()
    _, state = tx.update(w, tx.init(w), w)
    found = fisher_from_adam(state, batch_size=1, b2=B2)["body"]
    assert found.dtype == jnp.float32
    assert_close(found, np.ones(3), rtol=2**-8)  # v is bfloat16 in the state


def test_at_a_minimum_it_is_the_fisher_information():
    """Of a linear model there, the gradients of many batches are noise alone.

    The mean over 20,000 batches of 8 is within 4 standard errors of F: a chi-squared
    variable of one degree has a relative standard deviation of sqrt(2).
    """
    noise = np.random.default_rng(1).normal(size=(20_000, 8, 3)).astype(np.float32)
    scores = jnp.asarray(noise * np.array([0.5, 1.0, 2.0], np.float32))
    tx, w, b2 = optax.scale_by_adam(b2=0.9999), jnp.zeros(3), 0.9999

    def step(state, batch):
        return tx.update(batch.mean(axis=0), state, w)[1], None

    state, _ = jax.lax.scan(step, tx.init(w), scores)
    found = fisher_from_adam(state, batch_size=8, b2=b2)
    # The weights of the average: as many steps as (1 + b2) / (1 - b2) equal ones.
    spread = np.sqrt(2 / min(20_000, (1 + b2) / (1 - b2)))
    np.testing.assert_allclose(found, [0.25, 1.0, 4.0], rtol=4 * spread)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (optax.sgd(0.1).init(W), "opt_state holds no state of Adam; give the whole"),
        (optax.adam(0.1).init(W), "Adam took no step in this state"),
        (
            jax.tree.map(np.asarray, optax.adam(0.1).init(W)),
            "Adam took no step in this state",
        ),
        (
            optax.chain(optax.adam(0.1), optax.adam(0.1)).init(W),
            r"holds 2 states of Adam, at opt_state\[0\]\[0\], opt_state\[1\]\[0\];",
        ),
    ],
)
def test_states_without_one_adam(state, message):
    with pytest.raises(ValueError, match=message):
        fisher_from_adam(state, batch_size=8)


# Several tasks in one.


def quadratic(f, a, w):
    return np.sum(np.asarray(f, np.float64) * (w - np.asarray(a, np.float64)) ** 2)


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0, jnp.float32(0.25)])
def test_two_quadratics_are_one_up_to_a_constant(decay):
    f1, a1, f2, a2 = RNG.normal(size=(4, 5)).astype(np.float32)
    f1, f2 = f1**2, f2**2
    f, a = consolidate(f1, a1, f2, a2, decay)
    gaps = [
        float(decay) * quadratic(f1, a1, w) + quadratic(f2, a2, w) - quadratic(f, a, w)
        for w in RNG.normal(size=(6, 5))
    ]
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-5)


def test_many_tasks_are_the_sum_of_all():
    """One call a task: the penalty of each stays, none is counted twice."""
    tasks = [(x**2, y) for x, y in RNG.normal(size=(4, 2, 5)).astype(np.float32)]
    f, a = tasks[0]
    for fisher, anchor in tasks[1:]:
        f, a = consolidate(f, a, fisher, anchor)
    total = sum(np.asarray(x, np.float64) for x, _ in tasks)
    mean = sum(np.asarray(x * y, np.float64) for x, y in tasks) / total
    np.testing.assert_allclose(f, total, rtol=1e-6)
    np.testing.assert_allclose(a, mean, rtol=1e-5)


def test_where_nothing_is_known_the_new_anchor_holds():
    f, a = consolidate(jnp.zeros(2), jnp.ones(2), jnp.zeros(2), jnp.array([3.0, 4.0]))
    np.testing.assert_array_equal(f, np.zeros(2))
    np.testing.assert_array_equal(a, [3.0, 4.0])
    gradient = jax.grad(lambda f: consolidate(f, 1.0, f, 2.0)[1])(jnp.float32(0))
    assert jnp.isfinite(gradient)


def test_a_side_that_knows_nothing_changes_nothing():
    f, a = consolidate(jnp.float32(0), jnp.float32(1), jnp.float32(3), jnp.float32(0.1))
    assert (f, a) == (3, jnp.float32(0.1))
    f, a = consolidate(jnp.float32(3), jnp.float32(0.1), jnp.float32(0), jnp.float32(1))
    assert (f, a) == (3, jnp.float32(0.1))


def test_trees_in_other_containers_and_masked_parts():
    """Leaves are matched by name; where no Fisher is, the new params stay."""
    w = {"body": jnp.ones(3), "head": jnp.full(2, 5.0)}
    tx = optax.masked(ADAM(), {"body": True, "head": False})
    _, state = tx.update(w, tx.init(w), w)
    fisher = fisher_from_adam(state, batch_size=1, b2=B2)
    moved = jax.tree.map(lambda x: x + 2, w)
    f, a = consolidate(fisher, w, fisher, moved)
    assert isinstance(f["head"], optax.MaskedNode)
    assert_close(f["body"], np.full(3, 2.0))
    assert_close(a, {"body": np.full(3, 2.0), "head": np.full(2, 7.0)})

    params = nnx.state(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), nnx.Param)
    ones = jax.tree.map(jnp.ones_like, params)
    pure = nnx.to_pure_dict(ones)
    f, a = consolidate(pure, pure, ones, params)
    chex.assert_trees_all_equal_structs(f, a, params)
    expected = jax.tree.map(lambda w: (1 + w) / 2, params)
    chex.assert_trees_all_close(a, expected, rtol=1e-6)


def test_dtypes_of_several_tasks():
    f = jnp.ones(2, jnp.bfloat16)
    total, a = consolidate(f, f, 3 * f, 2 * f)
    assert (total.dtype, a.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(a, np.full(2, 1.75))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ({"a": 1.0}, {"a": 1.0}, {"b": 1.0}, {"b": 1.0}),
            ValueError,
            "fisher does no",
        ),
        (
            (np.ones(2), np.ones(2), np.ones(3), np.ones(3)),
            ValueError,
            "has the shapes",
        ),
        ((jnp.ones(2) * 1j,) * 4, TypeError, r"fisher is complex64\[2\]; a Fisher"),
        ((-jnp.ones(2), *(jnp.ones(2),) * 3), ValueError, "fisher has entries below 0"),
        ((-np.ones(2), *(np.ones(2),) * 3), ValueError, "fisher has entries below 0"),
        (
            (1.0, 0.0, math.nan, 2.0),
            ValueError,
            "new_fisher has entries below 0 or not",
        ),
        (
            (*(jnp.ones(2),) * 2, jnp.array([1.0, jnp.nan]), jnp.ones(2)),
            ValueError,
            "new_fisher has entries below 0 or not finite",
        ),
        (
            (*(jnp.ones(2),) * 4, 1.5),
            ValueError,
            r"decay must lie in \[0, 1\], got 1.5",
        ),
    ],
)
def test_what_does_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        consolidate(*arguments)
