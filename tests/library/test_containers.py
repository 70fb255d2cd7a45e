"""Trees of one model in several containers: NNX, whole models, subtrees, callables."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_contract import FACTORIES, PULLS, WEIGHTED, make, weight_name

import prox_optax

ROUNDING = {"rtol": 1e-6, "atol": 1e-7}
RATE = 0.1


class Model(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.layers = nnx.List(
            [nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 1, rngs=rngs)]
        )

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


def loss(model, x):
    return jnp.mean((model(x) - 1) ** 2)


X = jnp.arange(8.0).reshape(4, 2)


def ewc_by_hand(model, fisher, steps):
    """``w <- w - rate (g + 2 F (w - a))`` on plain lists; the final params."""
    graph, params = nnx.split(model, nnx.Param)
    leaves, structure = jax.tree.flatten(params)

    def loss_of(ws):
        return loss(nnx.merge(graph, jax.tree.unflatten(structure, ws)), X)

    a, ws = leaves, leaves
    for _ in range(steps):
        grads = jax.grad(loss_of)(ws)
        ws = [
            w - RATE * (g + 2 * f * (w - b))
            for w, g, f, b in zip(ws, grads, fisher, a, strict=True)
        ]
    return ws


FORMS = {
    "State": lambda fisher: fisher,
    "pure dict": nnx.to_pure_dict,
    "a schedule": lambda fisher: lambda t: nnx.to_pure_dict(fisher),
}
if hasattr(nnx, "as_pure"):  # in Flax from 0.12.7 on
    FORMS["as_pure"] = nnx.as_pure


@pytest.mark.parametrize("form", FORMS)
def test_ewc_in_nnx(form):
    """The Fisher weights come from ``nnx.grad``: a State, or made of one."""
    model = Model()
    fisher = jax.tree.map(lambda g: g**2, nnx.grad(loss)(model, X))
    expected = ewc_by_hand(Model(), jax.tree.leaves(fisher), 3)
    strength = FORMS[form](fisher)
    tx = optax.chain(prox_optax.proximal(strength, period=None), optax.sgd(RATE))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    step = nnx.jit(lambda m, o: o.update(m, nnx.grad(loss)(m, X)))
    for _ in range(3):
        step(model, optimizer)
    actual = jax.tree.leaves(nnx.state(model, nnx.Param))
    chex.assert_trees_all_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("form", ["State", "pure dict"])
def test_trees_of_strengths_in_nnx(name, form):
    """Eagerly, the same as on the pure dict."""
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    weights = jax.tree.map(lambda w: jnp.full_like(w, 0.2), state)
    w = nnx.to_pure_dict(state)
    tx = make(name, **{weight_name(name): FORMS[form](weights)})
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    plain = make(name, **{weight_name(name): nnx.to_pure_dict(weights)})
    plain_state = plain.init(w)
    for _ in range(2):
        grads = nnx.to_pure_dict(jax.tree.map(jnp.ones_like, state))
        optimizer.update(model, jax.tree.map(jnp.ones_like, state))
        updates, plain_state = plain.update(grads, plain_state, w)
        w = optax.apply_updates(w, updates)
    chex.assert_trees_all_close(
        nnx.to_pure_dict(nnx.state(model, nnx.Param)), w, **ROUNDING
    )


def test_the_anchor_of_an_nnx_optimizer_by_the_model():
    """The model itself will do where its parameters are all that floats."""
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make("tradam"), wrt=nnx.Param)
    before = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    optimizer.update(model, nnx.state(model, nnx.Param))
    by_state = prox_optax.anchor_distance(
        optimizer.opt_state, nnx.state(model, nnx.Param)
    )
    by_model = prox_optax.anchor_distance(optimizer.opt_state, model)
    assert float(by_state.norm) > 0
    chex.assert_trees_all_equal(by_model[:2], by_state[:2])
    anchor = prox_optax.get_anchor(optimizer.opt_state, nnx.state(model, nnx.Param))
    chex.assert_trees_all_equal(nnx.to_pure_dict(anchor), before)
    optimizer.opt_state = prox_optax.set_anchor(optimizer.opt_state, model)
    assert float(prox_optax.anchor_distance(optimizer.opt_state, model).norm) == 0


def test_a_model_with_other_arrays_says_what_to_write():
    model = nnx.BatchNorm(3, rngs=nnx.Rngs(0))  # its running averages float, too
    optimizer = nnx.Optimizer(model, make("proximal"), wrt=nnx.Param)
    for call in (prox_optax.set_anchor, prox_optax.anchor_distance):
        with pytest.raises(ValueError, match=r"extra.*nnx\.state\(model, nnx\.Param\)"):
            call(optimizer.opt_state, model)
        call(optimizer.opt_state, nnx.state(model, nnx.Param))


@partial(
    jax.tree_util.register_dataclass, data_fields=["w", "f", "n", "p"], meta_fields=[]
)
class Whole:
    """A model that holds a function, a counter and a number, as an Equinox one."""

    def __init__(self, w, f, n, p):
        self.w, self.f, self.n, self.p = w, f, n, p


@pytest.mark.parametrize("name", FACTORIES)
def test_a_whole_model_as_params(name):
    """What is no array and has no anchor passes, as in ``optax.adamw``."""
    tx = make(name)
    w = jnp.array([1.0, -2.0])
    model, arrays = (Whole(w, x, y, z) for x, y, z in ((jnp.tanh, 3, 0.5), (None,) * 3))
    grads = Whole(w + 1, None, None, None)
    updates, state = tx.update(grads, tx.init(arrays), model)
    expected, _ = tx.update(grads, tx.init(arrays), arrays)
    chex.assert_trees_all_equal(updates.w, expected.w)
    assert updates.f is None

    later = Whole(w + 1, jnp.tanh, 3, 0.5)
    distance = prox_optax.anchor_distance(state, later)
    np.testing.assert_allclose(distance.norm, np.sqrt(2), **ROUNDING)
    assert isinstance(distance.leaf_norm.f, optax.MaskedNode)
    assert isinstance(prox_optax.get_anchor(state, later).n, optax.MaskedNode)
    chex.assert_trees_all_equal(prox_optax.get_anchor(state, later).w, w)
    ratio = prox_optax.pull_ratio(state, later, grads, 0.5)
    expected = np.sqrt(2) / np.linalg.norm(w + 1)
    np.testing.assert_allclose(ratio, expected, **ROUNDING)
    state = prox_optax.set_anchor(state, later)
    assert float(prox_optax.anchor_distance(state, later).norm) == 0


@pytest.mark.parametrize("name", FACTORIES)
def test_frozen_parameters_of_a_whole_model(name):
    """They are arrays, but have neither an anchor nor an update, as in Equinox."""
    tx = make(name)
    trained = {"w": jnp.ones(2), "frozen": None}
    grads = {"w": jnp.ones(2), "frozen": None}
    state = tx.init(trained)
    whole = {"w": jnp.ones(2), "frozen": {"v": jnp.ones(3)}}
    updates, _ = tx.update(grads, state, whole)
    chex.assert_trees_all_equal(updates["w"], tx.update(grads, state, trained)[0]["w"])
    assert updates["frozen"] is None


@pytest.mark.parametrize("pull", PULLS)
def test_a_missing_update_beside_a_frozen_one(pull):
    """A None stands for its own part alone."""
    tx, w = make(pull), {"v": jnp.ones(2), "w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"updates do not fit.*\['w'\] is missing"):
        tx.update({"v": None}, tx.init(w), w)


@pytest.mark.parametrize("pull", PULLS)
def test_a_new_parameter_is_no_other_leaf(pull):
    tx = make(pull)
    state = tx.init({"w": jnp.ones(2)})
    more = {"w": jnp.ones(2), "v": jnp.ones(2)}
    for params in (more, {**more, "v": np.ones(2, np.float32)}):
        with pytest.raises(ValueError, match=r"leaf \['v'\] is extra"):
            tx.update({"w": jnp.ones(2)}, state, params)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_number_stands_for_a_subtree(name):
    w = {"encoder": [jnp.ones(2), jnp.ones((2, 3))], "head": {"w": jnp.ones(2)}}
    prefix = {"encoder": 0.2, "head": {"w": jnp.array([0.1, 0.3])}}
    full = {"encoder": [0.2, 0.2], "head": {"w": jnp.array([0.1, 0.3])}}
    goal = jax.tree.map(jnp.zeros_like, w)
    found = []
    for tree in (prefix, full, lambda t: prefix):
        tx = make(name, **{weight_name(name): tree})
        state = prox_optax.set_anchor(tx.init(w), goal)
        found.append(tx.update(w, state, w)[0])
    chex.assert_trees_all_equal(*found)
    state = prox_optax.proximal(0.1).init(goal)
    ratios = [prox_optax.pull_ratio(state, w, w, tree) for tree in (prefix, full)]
    chex.assert_trees_all_equal(*ratios)


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ({"encoder": 0.1}, r"leaf \['head'\] is missing"),
        ({"encoder": np.ones(2), "head": 0.1}, r"leaf \['encoder'\]\[0\] is missing"),
        ({"encoder": 0.1, "head": 0.1, "tail": 0.1}, r"leaf \['tail'\] is extra"),
    ],
)
def test_prefixes_that_do_not_fit(prefix, error):
    w = {"encoder": [jnp.ones(2), jnp.ones(2)], "head": jnp.ones(2)}
    for name in WEIGHTED:
        with pytest.raises(ValueError, match=error):
            make(name, **{weight_name(name): prefix}).init(w)


@partial(
    jax.tree_util.register_dataclass, data_fields=["policy", "value"], meta_fields=[]
)
class ActorCritic:
    """A field called ``value``, as a variable of Flax NNX has."""

    def __init__(self, policy, value):
        self.policy, self.value = policy, value


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_field_called_value_stands_for_itself_alone(name):
    w = ActorCritic({"w": jnp.ones(2)}, {"w": jnp.ones(3)})
    found = []
    for tree in (ActorCritic(0.1, 0.3), ActorCritic({"w": 0.1}, {"w": 0.3})):
        tx = make(name, **{weight_name(name): tree}, period=None)
        moved = jax.tree.map(lambda x: x + 1, w)
        found.append(tx.update(w, tx.init(w), moved)[0])
    chex.assert_trees_all_equal(*found)
    tx = make(name, **{weight_name(name): ActorCritic(None, 0.3)})
    for params in (w, ActorCritic(jnp.ones(2), jnp.ones(3))):
        with pytest.raises(ValueError, match=r"leaf \.policy.* is missing"):
            tx.init(params)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_number_may_stand_for_a_subtree_that_is_masked(name):
    """Leaf by leaf, as a mask that is a function of the params makes it."""
    w = {"encoder": jnp.ones(2), "head": {"w": jnp.ones((2, 2))}}
    mask = jax.tree.map(lambda x: x.ndim < 2, w)
    moved = jax.tree.map(lambda x: x + 1, w)
    found = []
    for tree in ({"encoder": 0.2, "head": 0.4}, {"encoder": 0.2, "head": {"w": 0.4}}):
        tx = optax.masked(make(name, **{weight_name(name): tree}, period=None), mask)
        state = tx.init(w)
        ratio = prox_optax.pull_ratio(state, moved, w, tree)
        found.append((tx.update(w, state, moved)[0], ratio))
    chex.assert_trees_all_equal(*found)
