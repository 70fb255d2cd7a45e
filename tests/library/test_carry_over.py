"""A run saved with plain optax goes on with an anchor."""

import functools
import itertools
import pickle
from typing import NamedTuple

import chex
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training import checkpoints
from test_checkpoint import restore, save
from test_contract import (
    PERIOD,
    gradient,
    make,
    params_of,
    proximal_states,
    step,
    train,
)

import prox_optax

SAVED = PERIOD + 2  # in the middle of a period


def rate(t):
    return 0.1 / (t + 1)


@pytest.mark.parametrize("base", [optax.adam, lambda r: optax.sgd(r, 0.9)])
def test_as_if_the_anchor_had_been_there_all_along(base):
    """With a strength of 0 up to the switch: bit for bit, its schedule included."""

    def strength(t):
        return jnp.where(t < SAVED, 0.0, 0.1 + 0.1 * t)

    with_anchor = optax.chain(prox_optax.proximal(strength, PERIOD), base(rate))
    w, state = train(with_anchor, params_of(), SAVED)
    state = (state[0]._replace(anchor=w), *state[1:])
    expected = train(with_anchor, w, state=state)

    w, saved = train(base(rate), params_of(), SAVED)
    state = prox_optax.carry_over(
        (optax.EmptyState(), saved), with_anchor.init(w), SAVED
    )
    chex.assert_trees_all_equal(train(with_anchor, w, state=state), expected)
    assert int(proximal_states(state)[0].step) == SAVED


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "schedule"])
def test_period_and_inner_decay_go_on_together(constant):
    """Without pull TRAdam is Adam with steps divided by (t mod S) + 1."""
    learning_rate = 0.1 if constant else rate
    adam = optax.adam(learning_rate)
    tx = make("tradam", learning_rate=learning_rate, lambda_w=0.0)
    w, saved = train(adam, params_of(), SAVED)
    state = prox_optax.carry_over(saved, tx.init(w), SAVED)
    for t in range(SAVED, SAVED + 2 * PERIOD):
        expected, saved = adam.update(gradient(w), saved, w)
        (before,) = proximal_states(state)
        updates, state = tx.update(gradient(w), state, w)
        (after,) = proximal_states(state)
        chex.assert_trees_all_close(
            updates,
            jax.tree.map(lambda u, k=t % PERIOD: u / (k + 1), expected),
            rtol=1e-6,
        )
        moved = jnp.any(before.anchor["bias"] != after.anchor["bias"])
        assert bool(moved) == (t % PERIOD == 0)
        if constant:
            assert int(after.step) == (t + 1) % PERIOD
        assert int(state[-1].inner_step) == (t + 1) % PERIOD
        w = optax.apply_updates(w, updates)


@pytest.mark.parametrize("with_target", [True, False])
def test_from_an_orbax_checkpoint(with_target, tmp_path):
    adam, tradam = optax.adam(rate), make("tradam", learning_rate=rate, lambda_w=0.01)
    w, saved = train(adam, params_of(), SAVED)
    save(tmp_path / "checkpoint", (w, saved))
    target = jax.eval_shape(lambda: (w, saved)) if with_target else None
    w, saved = restore(tmp_path / "checkpoint", target)
    state = prox_optax.carry_over(saved, tradam.init(w), SAVED)
    assert jax.tree.structure(state) == jax.tree.structure(tradam.init(w))
    moments, count = jax.tree.leaves(saved)[:-1], jax.tree.leaves(saved)[-1]
    chex.assert_trees_all_equal(jax.tree.leaves(state[2][0]), moments)
    chex.assert_trees_all_equal(state[2][1].count, count)
    chex.assert_trees_all_equal(proximal_states(state)[0].anchor, w)
    train(tradam, w, state=state)


def test_there_and_back_is_bitwise():
    w, saved = train(optax.adam(0.1), params_of(), SAVED)
    for other in (make("tradam"), optax.chain(optax.clip(1.0), make("tradam"))):
        there = prox_optax.carry_over(saved, other.init(w), SAVED)
        back = prox_optax.carry_over(there, optax.adam(0.1).init(w), SAVED)
        chex.assert_trees_all_equal(back, saved)
        decoupled = make("tradamw").init(w)
        also_back = prox_optax.carry_over(there, decoupled, SAVED)
        chex.assert_trees_all_equal(also_back[0][0], saved[0])


def test_params_in_lists_keep_their_order():
    w = [jnp.ones(2), {"0": jnp.zeros(2)}, (jnp.full(2, 2.0), jnp.full(2, 3.0))]
    g = jax.tree.map(lambda x: x + 0.5, w)
    _, saved = optax.adam(0.1).update(g, optax.adam(0.1).init(w), w)
    state = prox_optax.carry_over(saved, make("tradam").init(w), 1)
    chex.assert_trees_all_equal(state[2], saved)


def test_wrappers_keep_their_own_state():
    w, saved = train(optax.MultiSteps(optax.adam(0.1), 2), params_of(), 3)
    tx = optax.MultiSteps(make("tradam"), 2)
    state = prox_optax.carry_over(saved, tx.init(w), step=1)
    assert int(state.mini_step) == 1
    chex.assert_trees_all_equal(state.acc_grads, saved.acc_grads)
    chex.assert_trees_all_equal(state.inner_opt_state[2], saved.inner_opt_state)
    assert int(proximal_states(state)[0].step) == 1


def test_nnx_optimizer():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    grads = jax.tree.map(gradient, nnx.state(model, nnx.Param))
    optimizer.update(model, grads)
    anchored = nnx.Optimizer(model, make("tradam"), wrt=nnx.Param)
    anchored.opt_state = prox_optax.carry_over(
        optimizer.opt_state, anchored.opt_state, optimizer.step[...]
    )
    moments = jax.tree.leaves(anchored.opt_state[2])
    chex.assert_trees_all_equal(moments, jax.tree.leaves(optimizer.opt_state))
    anchored.update(model, grads)
    assert int(proximal_states(anchored.opt_state)[0].step[...]) == 2


def test_lanes_and_an_anchor_set_before():
    lanes = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params_of())
    saved = jax.vmap(optax.adam(0.1).init)(lanes)
    new = prox_optax.set_anchor(jax.vmap(make("tradam").init)(lanes), lanes)
    state = jax.jit(prox_optax.carry_over)(saved, new, SAVED)
    np.testing.assert_array_equal(proximal_states(state)[0].step, [~SAVED] * 2)
    jax.vmap(lambda w, state: step(make("tradam"), w, state))(lanes, state)


@pytest.mark.parametrize(
    ("saved", "new", "error"),
    [
        (optax.adam(0.1), optax.adam(rate), r"nothing for new_state\[1\]\.count"),
        (optax.adam(rate), optax.adam(0.1), r"no place for saved_state\[1\]\.count"),
        (optax.sgd(0.1, 0.9), make("trsgd"), r"saved_state\[0\]\.trace\['bias'\]"),
        (optax.sgd(0.1), make("tradam"), r"nothing for new_state\[2\]\[0\]\.count"),
        (optax.adam(0.1, mu_dtype="bfloat16"), make("tradam"), r"bfloat16\[3\].*float"),
    ],
)
def test_trees_that_do_not_match(saved, new, error):
    with pytest.raises(ValueError, match=error + ".*build the new optimizer"):
        prox_optax.carry_over(saved.init(params_of()), new.init(params_of()), 0)


def test_other_params():
    saved = optax.adam(0.1).init(params_of())
    for other, error in (
        ({"bias": jnp.zeros(3)}, "no place for saved_state.*'kernel'"),
        ({**params_of(), "scale": jnp.zeros(3)}, "nothing for new_state.*'scale'"),
        ({**params_of(), "bias": jnp.zeros(4)}, r"float32\[3\], new_state.*float32\[4"),
    ):
        with pytest.raises(ValueError, match=error):
            prox_optax.carry_over(saved, make("tradam").init(other), 0)


def test_step_is_a_whole_number():
    state = make("tradam").init(params_of())
    for step_, error in ((1.0, TypeError), (True, TypeError), (-1, ValueError)):
        with pytest.raises(error, match=r"step must be .*number of updates"):
            prox_optax.carry_over(state, state, step_)


class Layer(NamedTuple):
    w: jax.Array


# Names and places that a checkpoint without a target could confuse: lists of more than
# 10, numbers as names, and the names of the fields of our states.
PARAMS = {
    "layers": [{"w": jnp.zeros(2)} for _ in range(12)],
    "named": {"10": jnp.zeros(2), "2": jnp.zeros(2)},
    "tuple": (Layer(jnp.zeros(3)), Layer(jnp.zeros(3))),
    "ours": {"anchor": jnp.zeros(2), "step": jnp.zeros(())},
    "inner": {"inner_step": jnp.zeros(())},
    "value": jnp.zeros(2),
}


# To each family belong optimizers with the same arrays but for the anchor.
FAMILIES = {
    "adam": {
        "adam": lambda: optax.adam(0.1),
        "adamw": lambda: optax.adamw(0.1),
        "tradam": lambda: make("tradam"),
        "tradamw": lambda: make("tradamw"),
        "tradam-stays": lambda: make("tradam", period=None),
        "tradamw-int16": lambda: make("tradamw", anchor_dtype="int16"),
        "proximal": lambda: optax.chain(make("proximal"), optax.adam(0.1)),
    },
    "adam-schedule": {
        "adam": lambda: optax.adam(rate),
        "tradam-int16": lambda: make(
            "tradam", learning_rate=rate, lambda_w=0.1, anchor_dtype="int16"
        ),
        "tradamw": lambda: make("tradamw", learning_rate=rate),
    },
    "momentum": {
        "sgd": lambda: optax.sgd(0.1, 0.9),
        "trsgd": lambda: make("trsgd", momentum=0.9),
        "trsgdw": lambda: make("trsgdw", momentum=0.9),
        "trsgdw-stays": lambda: make("trsgdw", momentum=0.9, period=None),
        "trsgd-int16": lambda: make("trsgd", momentum=0.9, anchor_dtype="int16"),
    },
    "sgd": {"sgd": lambda: optax.sgd(0.1), "trsgd": lambda: make("trsgd")},
}


def labels(params):
    """Two labels, interleaved in every list."""
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, ["ab"[i % 2] for i in range(len(leaves))])


WRAPPERS = {
    "bare": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip(1.0), tx, optax.scale(2.0)),
    "masked": lambda tx: optax.masked(
        tx, lambda params: jax.tree.map(lambda x: x == "a", labels(params))
    ),
    "partition": lambda tx: optax.partition({"a": tx, "b": tx}, labels),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "inject_hyperparams": lambda tx: optax.inject_hyperparams(
        lambda scale: optax.chain(tx, optax.scale(scale))
    )(0.5),
    "nested": lambda tx: optax.chain(
        optax.apply_if_finite(optax.masked(optax.chain(tx), True), 2)
    ),
}


@functools.cache
def numbered(wrapper, family, name, first=0):
    """Make a state whose every array holds another number."""
    tx = WRAPPERS[wrapper](FAMILIES[family][name]())
    leaves, structure = jax.tree.flatten(jax.eval_shape(tx.init, PARAMS))
    filled = [np.full(x.shape, first + i, x.dtype) for i, x in enumerate(leaves)]
    return jax.tree.unflatten(structure, map(jnp.asarray, filled))


@functools.cache
def from_the_live_state(wrapper, family, name, new_name):
    saved = numbered(wrapper, family, name)
    new = numbered(wrapper, family, new_name, 1000)
    return prox_optax.carry_over(saved, new, SAVED)


def moments(state):
    """Each array outside the anchor, by field, in the order of the state."""
    kept = jax.tree.map(
        lambda node: None if is_pull(node) else node, state, is_leaf=is_pull
    )
    fields = ("mu", "nu", "trace", "count", "acc_grads", "mini_step", "notfinite_count")
    return {
        field: [x for _, x in optax.tree.get_all_with_path(kept, field)]
        for field in fields
    }


def is_pull(node):
    return isinstance(node, prox_optax.ProximalState | prox_optax.CompactState)


def pairs(wrapper):
    """From each optimizer to the first of its family and the last, and from it to each.

    A wrapper is tried on the families that hold every kind of array.
    """
    families = FAMILIES if wrapper == "bare" else ("adam-schedule", "momentum")
    return [
        (family, name, new_name)
        for family in families
        for name, new_name in itertools.product(FAMILIES[family], repeat=2)
        if {name, new_name} & {next(iter(FAMILIES[family])), [*FAMILIES[family]][-1]}
    ]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_array_of_the_live_state_has_its_place(wrapper):
    for family, name, new_name in pairs(wrapper):
        state = from_the_live_state(wrapper, family, name, new_name)
        new = numbered(wrapper, family, new_name, 1000)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
        saved = numbered(wrapper, family, name)
        chex.assert_trees_all_equal(moments(state), moments(saved))
        for after, before in zip(
            proximal_states(state), proximal_states(new), strict=True
        ):
            chex.assert_trees_all_equal(after[:-1], before[:-1])
            assert int(after.step) == SAVED


def from_flax_checkpoint(states, directory):
    checkpoints.save_checkpoint(directory, states, 0)
    return checkpoints.restore_checkpoint(directory, target=None)


def from_orbax(states, directory):
    save(directory / "checkpoint", states)
    return restore(directory / "checkpoint")


SAVED_BY = {
    "to_state_dict": lambda states, _: flax.serialization.to_state_dict(states),
    "orbax": from_orbax,
    "pickle": lambda states, _: pickle.loads(pickle.dumps(states)),
    "numpy": lambda states, _: jax.tree.map(np.asarray, states),
    "msgpack": lambda states, _: flax.serialization.msgpack_restore(
        flax.serialization.to_bytes(states)
    ),
    "flax_checkpoint": from_flax_checkpoint,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sharding info not provided")  # Flax's own
@pytest.mark.parametrize(
    ("saved_by", "wrapper"),
    [(saved_by, "bare") for saved_by in SAVED_BY]
    + [(s, w) for s in ("to_state_dict", "orbax") for w in WRAPPERS if w != "bare"],
)
def test_a_state_restored_without_a_target_is_as_the_live_one(
    saved_by, wrapper, tmp_path
):
    live = {
        f"{family}-{name}": numbered(wrapper, family, name)
        for family, name, _ in pairs(wrapper)
    }
    restored = SAVED_BY[saved_by](live, tmp_path)
    for family, name, new_name in pairs(wrapper):
        new = numbered(wrapper, family, new_name, 1000)
        state = prox_optax.carry_over(restored[f"{family}-{name}"], new, SAVED)
        expected = from_the_live_state(wrapper, family, name, new_name)
        chex.assert_trees_all_equal(state, expected, strict=True)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))


@pytest.mark.parametrize("form", ["state", "pure_dict", "orbax"])
def test_what_nnx_keeps_of_an_optimizer(form, tmp_path):
    """Arrays in containers, or below a key "value", with integers as keys."""
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))

    def optimizer(tx):
        return nnx.Optimizer(model, tx, wrt=nnx.Param)

    live = optimizer(make("tradam"))
    live.update(model, jax.tree.map(gradient, nnx.state(model, nnx.Param)))
    state = nnx.state(live)
    saved = {
        "state": lambda: state,
        "pure_dict": lambda: nnx.to_pure_dict(state),
        "orbax": lambda: from_orbax(state, tmp_path),
    }[form]()["opt_state"]
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for new in (optax.adam(0.1), make("tradamw")):
        for state in (optimizer(new).opt_state, new.init(params)):
            chex.assert_trees_all_equal(
                jax.tree.leaves(prox_optax.carry_over(saved, state, 1)),
                jax.tree.leaves(prox_optax.carry_over(live.opt_state, state, 1)),
            )


def injected(factory, static_args=(), **kwargs):
    tx = optax.inject_hyperparams(factory, static_args)(**kwargs)
    return tx.init(params_of())


INJECTED = [
    (optax.adamw, prox_optax.tradamw, {"lambda_w", "period"}),
    (optax.adam, prox_optax.tradam, {"lambda_w", "period", "weight_decay"}),
    (optax.sgd, prox_optax.trsgdw, {"lambda_w", "period", "weight_decay"}),
]


@pytest.mark.parametrize("restored", [False, True], ids=["live", "restored"])
@pytest.mark.parametrize(("base", "alias", "only_new"), INJECTED)
def test_injected_hyperparameters(base, alias, only_new, restored):
    """Those of both are the saved ones, the others the new optimizer's own."""
    as_saved = flax.serialization.to_state_dict if restored else lambda x: x
    saved = injected(base, learning_rate=0.1)
    saved.hyperparams["learning_rate"] = jnp.asarray(0.05)  # changed by hand
    new = injected(alias, learning_rate=0.3, lambda_w=0.02, period=7, weight_decay=0.5)
    state = prox_optax.carry_over(as_saved(saved), new, 1)
    expected = {**new.hyperparams, **saved.hyperparams}
    chex.assert_trees_all_equal(state.hyperparams, expected)
    assert expected["learning_rate"] == np.float32(0.05)
    assert all(state.hyperparams[key] == new.hyperparams[key] for key in only_new)

    back = prox_optax.carry_over(as_saved(state), injected(base, learning_rate=0.3), 1)
    chex.assert_trees_all_equal(back, saved)

    static = injected(alias, tuple(only_new), learning_rate=0.3, lambda_w=0.02)
    state = prox_optax.carry_over(as_saved(saved), static, 1)
    chex.assert_trees_all_equal(state.hyperparams, saved.hyperparams)


def test_two_injected_optimizers():
    def both(*factories):
        return tuple(injected(f, learning_rate=0.1 * i) for i, f in factories)

    saved = both((1, optax.sgd), (2, optax.adam))
    new = both((3, prox_optax.trsgd), (4, prox_optax.tradam))
    state = prox_optax.carry_over(saved, new, 1)
    for i in (0, 1):
        assert {**state[i].hyperparams, **saved[i].hyperparams} == state[i].hyperparams
    with pytest.raises(ValueError, match="same place"):
        prox_optax.carry_over(saved, new[::-1], 1)


def test_a_new_schedule_names_static_args():
    saved = injected(optax.adamw, learning_rate=0.1)
    kwargs = {"learning_rate": 0.1, "lambda_w": rate}
    with pytest.raises(ValueError, match=r"'lambda_w'.*static_args='lambda_w'"):
        prox_optax.carry_over(saved, injected(prox_optax.tradamw, **kwargs), 4)
    new = injected(prox_optax.tradamw, "lambda_w", **kwargs)
    state = prox_optax.carry_over(saved, new, 4)
    assert int(proximal_states(state)[0].step) == 4
    scheduled = injected(prox_optax.tradamw, learning_rate=rate)
    with pytest.raises(ValueError, match=r"nothing for new_state.*build the new"):
        prox_optax.carry_over(saved, scheduled, 4)
    with pytest.raises(ValueError, match=r"no place for saved_state.*build the new"):
        prox_optax.carry_over(scheduled, saved, 4)


def test_a_saved_schedule_of_the_pull_is_left_behind():
    saved = injected(prox_optax.tradamw, learning_rate=0.1, lambda_w=rate)
    back = prox_optax.carry_over(saved, injected(optax.adamw, learning_rate=0.1), 1)
    assert set(back.hyperparams_states) == set()


@pytest.mark.parametrize("restored", [False, True], ids=["live", "restored"])
def test_arrays_of_one_name_are_never_mistaken(restored):
    """Another place in the params, or another kind of state: an error."""
    as_saved = flax.serialization.to_state_dict if restored else lambda x: x
    by_place = [Layer(jnp.full(2, float(i))) for i in range(3)]
    by_name = {str(i): jnp.full(2, float(i)) for i in range(3)}
    count = optax.scale_by_schedule(rate)
    cases = [
        (optax.masked(optax.trace(0.9), mask), optax.masked(optax.trace(0.9), other), w)
        for w, mask, other in (
            (by_place, [True, True, False], [False, True, True]),
            (
                by_name,
                dict(zip("012", [True, True, False], strict=True)),
                dict(zip("012", [False, True, True], strict=True)),
            ),
        )
    ]
    cases.append(
        (
            optax.chain(count, optax.scale_by_adam()),
            optax.chain(optax.scale_by_adam(), count),
            by_name,
        )
    )
    cases.append(
        (
            optax.partition({0: optax.trace(0.9), 1: optax.sgd(0.1)}, lambda w: 0),
            optax.partition({0: optax.sgd(0.1), 1: optax.trace(0.9)}, lambda w: 1),
            jnp.ones(2),
        )
    )
    for saved, new, w in cases:
        new_state = optax.chain(make("proximal"), new).init(w)
        with pytest.raises(ValueError, match="same place; build the new optimizer"):
            prox_optax.carry_over(as_saved(saved.init(w)), new_state, 1)
        new_state = optax.chain(make("proximal"), saved).init(w)
        prox_optax.carry_over(as_saved(saved.init(w)), new_state, 1)


@pytest.mark.parametrize("restored", [False, True], ids=["live", "restored"])
def test_the_places_of_a_long_chain_are_numbers(restored):
    """By text "10" comes before "9", and the two momenta would change places."""
    w = jnp.ones(2)
    states = [optax.EmptyState()] * 8 + [optax.TraceState(w), optax.TraceState(2 * w)]
    new = optax.chain(
        make("proximal"), *[optax.identity()] * 8, *[optax.trace(0.9)] * 2
    )
    saved = tuple(states)
    if restored:
        saved = flax.serialization.to_state_dict(saved)
    state = prox_optax.carry_over(saved, new.init(w), 1)
    chex.assert_trees_all_equal(state[1:], tuple(states))


def test_an_array_that_would_lose_digits_is_refused():
    """float64 of a run with x64, restored as NumPy's where x64 is off."""
    new = make("trsgd", momentum=0.9).init(params_of())
    saved = optax.sgd(0.1, 0.9).init(params_of())
    saved = jax.tree.map(lambda x: np.asarray(x, np.float64), saved)
    with pytest.raises(ValueError, match=r"is float64\[3\], new_state.* float32\[3\]"):
        prox_optax.carry_over(saved, new, 1)


def test_restored_arrays_go_where_the_new_state_lies():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("x",), axis_types=auto)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    saved = optax.sgd(0.1, 0.9).init(params_of())
    saved = flax.serialization.msgpack_restore(flax.serialization.to_bytes(saved))
    w = jax.device_put(params_of(), sharding)
    new = jax.device_put(make("trsgd", momentum=0.9).init(w), sharding)
    state = prox_optax.carry_over(saved, new, 1)
    assert all(x.sharding == sharding for x in jax.tree.leaves(state[2]))
    assert all(x.committed for x in jax.tree.leaves(state[2]))
    traced = jax.jit(lambda new: prox_optax.carry_over(saved, new, 1))(new)
    chex.assert_trees_all_equal(traced, state)
