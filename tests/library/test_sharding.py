"""Sharded params: the anchor follows them, nothing is communicated for it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_contract import FACTORIES, PULLS, STEPS, make, proximal_states, step, train
from test_contract import anchor_dtype as anchor_dtype

import prox_optax
from benchmarks.costs.traffic import hlo

pytestmark = pytest.mark.usefixtures("cpu")  # a mesh takes eight devices
SPECS = {"bias": P(), "kernel": P("data", None)}


def params():
    key = jax.random.key(0)
    return {
        "bias": jax.random.normal(key, (4,)),
        "kernel": jax.random.normal(key, (16, 4)),
    }


def put(tree, mesh, specs):
    return jax.tree.map(
        lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), tree, specs
    )


@pytest.fixture(params=FACTORIES)
def tx(request, anchor_dtype):
    return make(request.param, anchor_dtype=anchor_dtype)


@pytest.mark.slow
def test_state_follows_the_params_without_a_collective(tx, anchor_dtype):
    """But for the units of an int16 anchor, on the steps that take it."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    w = put(params(), mesh, SPECS)
    state = tx.init(w)
    state_specs = optax.tree_map_params(
        tx,
        lambda _, spec: spec,
        state,
        SPECS,
        transform_non_params=lambda _: P(),
    )
    state = put(state, mesh, state_specs)

    compiled = jax.jit(lambda w, state: step(tx, w, state)).lower(w, state).compile()
    program = hlo.parse(compiled.as_text())
    assert program.collectives(0) == set()
    assert program.collectives(1) == ({"all-reduce"} if anchor_dtype else set())

    for _ in range(STEPS):
        w, state = compiled(w, state)
    (ours,) = proximal_states(state)
    for leaf, spec in SPECS.items():
        expected = NamedSharding(mesh, spec)
        assert ours[0][leaf].sharding.is_equivalent_to(expected, w[leaf].ndim)
    # Partitioned and whole programs are fused differently by XLA.
    chex.assert_trees_all_close(
        jax.device_get(w), train(tx, params())[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow  # a partitioned program for each
def test_explicit_mesh_keeps_the_types(tx):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        w = put(params(), mesh, SPECS)
        state = tx.init(w)
        types = jax.tree.map(jax.typeof, (w, state))
        assert jax.tree.map(jax.typeof, step(tx, w, state)) == types
        compiled = jax.jit(lambda w, state: step(tx, w, state))
        assert jax.tree.map(jax.typeof, compiled(w, state)) == types
        assert jax.tree.map(jax.typeof, jax.jit(tx.init)(w)) == types[1]
        sharded, _ = train(tx, w)
    chex.assert_trees_all_close(
        jax.device_get(sharded), train(tx, params())[0], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("gradient_spec", [P(), P("data", None)], ids=str)
def test_sharded_state_of_replicated_params(pull, gradient_spec, anchor_dtype):
    """ZeRO-1: on an explicit mesh the params are resharded to the anchor."""
    tx = make(pull, anchor_dtype=anchor_dtype)
    w = jax.random.normal(jax.random.key(0), (16, 4))
    expected, expected_state = tx.update(2 * w, tx.init(w + 1), w)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        kept, *others = tx.init(w + 1)
        state = type(expected_state)(put(kept, mesh, P("data", None)), *others)
        whole = put(w, mesh, P())
        g = put(2 * w, mesh, gradient_spec)
        updates, new_state = jax.jit(tx.update)(g, state, whole)
        assert jax.tree.map(jax.typeof, new_state) == jax.tree.map(jax.typeof, state)
        assert jax.typeof(updates).sharding.spec == P("data", None)
    np.testing.assert_allclose(updates, expected, rtol=1e-6)
    np.testing.assert_array_equal(new_state[0], expected_state[0])


@pytest.mark.parametrize(
    ("axis_type", "jit"),
    # On an auto mesh the compiler chooses the sharding of a jitted output.
    [(AxisType.Auto, False), (AxisType.Explicit, False), (AxisType.Explicit, True)],
)
def test_set_anchor_keeps_the_sharding(axis_type, jit):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    set_anchor = jax.jit(prox_optax.set_anchor) if jit else prox_optax.set_anchor
    w = jnp.arange(64.0).reshape(16, 4)
    with jax.set_mesh(mesh):
        state = prox_optax.proximal().init(w)
        state = state._replace(anchor=put(state.anchor, mesh, P("data", None)))
        for goal in (put(w, mesh, P()), np.asarray(w)):
            anchor = set_anchor(state, goal).anchor
            assert anchor.sharding.is_equivalent_to(state.anchor.sharding, 2)
            np.testing.assert_array_equal(anchor, w)


@pytest.mark.slow
def test_donation_on_eight_devices(tx):
    """An anchor that shared its buffers with the params would crash the process."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    w = put(params(), mesh, SPECS)
    state = tx.init(w)
    donating = jax.jit(lambda w, state: step(tx, w, state), donate_argnums=(0, 1))
    for _ in range(STEPS):
        w, state = donating(w, state)
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(w))


SERVER = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array(3.0)}
TARGETS = jnp.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])  # of two workers


def local_steps(tx, w, state, target, steps):
    """From the server's params, on one worker's data."""

    def one(carry, _):
        w, state = carry
        grads = {"a": 2 * (w["a"] - target), "b": w["b"] * target.sum()}
        updates, state = tx.update(grads, state, w)
        return (optax.apply_updates(w, updates), state), None

    carry, _ = one((w, state), None)  # from here on the state varies as the params do
    return jax.lax.scan(one, carry, length=steps - 1)[0]


def on_workers(function):
    mesh = jax.make_mesh((2,), ("worker",), axis_types=(AxisType.Auto,))
    specs = (P(), P("worker"), P("worker"))

    def of_one(replicated, params, target):
        found = function(replicated, jax.tree.map(lambda x: x[0], params), target[0])
        return jax.tree.map(lambda x: x[None], found)

    mapped = jax.shard_map(of_one, mesh=mesh, in_specs=specs, out_specs=P("worker"))
    copies = jax.tree.map(lambda x: jnp.stack([x, x]), SERVER)
    return lambda replicated: jax.jit(mapped)(replicated, copies, TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORIES)
def test_local_steps_inside_shard_map(name, anchor_dtype):
    """A replicated anchor, params that vary: as separate runs on one device."""
    tx = make(name, anchor_dtype=anchor_dtype)
    run = on_workers(lambda state, w, target: local_steps(tx, w, state, target, 7)[0])
    actual = run(tx.init(SERVER))
    alone = jax.jit(
        lambda target: local_steps(tx, SERVER, tx.init(SERVER), target, 7)[0]
    )
    for i, target in enumerate(TARGETS):
        of_one = jax.tree.map(lambda x, i=i: x[i], actual)
        # The same operations, fused by XLA otherwise; int16 rounds to a unit.
        rtol = 1e-5 if anchor_dtype is None else 1e-4
        chex.assert_trees_all_close(of_one, alone(target), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("anchor_step", [1.0, 0.5])
def test_rounds_inside_shard_map(anchor_step):
    """``set_anchor`` to the server's replicated params, between scans of steps."""
    tx = optax.chain(
        prox_optax.proximal(period=2, anchor_step=anchor_step), optax.sgd(0.1)
    )

    def rounds(server, w, target):
        state = tx.init(w)
        for _ in range(2):
            state = prox_optax.set_anchor(state, server)
            w, state = local_steps(tx, w, state, target, 3)
        return w

    actual = on_workers(rounds)(SERVER)
    for i, target in enumerate(TARGETS):
        w, state = SERVER, tx.init(SERVER)
        for _ in range(2):
            state = prox_optax.set_anchor(state, SERVER)
            w, state = local_steps(tx, w, state, target, 3)
        of_one = jax.tree.map(lambda x, i=i: x[i], actual)
        chex.assert_trees_all_close(of_one, w, rtol=1e-5, atol=1e-6)


def test_a_scan_may_end_in_set_anchor():
    """The new anchor varies over the workers as the old one does."""
    tx = optax.chain(prox_optax.proximal(period=2), optax.sgd(0.1))

    def rounds(server, w, target):
        def one(carry, _):
            w, state = carry
            w, state = local_steps(tx, w, state, target, 2)
            return (w, prox_optax.set_anchor(state, server)), None

        start = local_steps(tx, w, tx.init(w), target, 2)
        return jax.lax.scan(one, start, length=2)[0][0]

    actual = on_workers(rounds)(SERVER)
    for i, target in enumerate(TARGETS):
        w, state = local_steps(tx, SERVER, tx.init(SERVER), target, 2)
        for _ in range(2):
            w, state = local_steps(tx, w, state, target, 2)
            state = prox_optax.set_anchor(state, SERVER)
        of_one = jax.tree.map(lambda x, i=i: x[i], actual)
        chex.assert_trees_all_close(of_one, w, rtol=1e-5, atol=1e-6)
