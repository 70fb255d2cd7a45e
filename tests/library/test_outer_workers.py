"""Workers that share nothing but the mean of their distances: DiLoCo, FedOpt.

The oracle is DiLoCo in NumPy float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import prox_optax
from benchmarks.costs.traffic import hlo

SHARED = P()
pytestmark = pytest.mark.usefixtures("cpu")  # a mesh takes four devices
T, S, WORKERS = 14, 4, 4
RNG = np.random.default_rng(0)
A = RNG.normal(size=(6, 6)) / 6
A = A @ A.T + 0.3 * np.eye(6)
B = RNG.normal(size=(WORKERS, T, 6))  # each worker has data of its own
W0 = RNG.normal(size=6)

# The same float64 operations in another order, 14 steps of errors of 1e-16.
TOLERANCE = {"rtol": 0, "atol": 1e-13}


def diloco(axis_name="workers", outer_rate=0.7):
    nesterov = optax.sgd(outer_rate, momentum=0.9, nesterov=True)
    return optax.chain(
        optax.sgd(0.1, 0.9), prox_optax.outer(nesterov, S, axis_name=axis_name)
    )


def steps(tx, w, state, b):
    """Train one worker on its data; return its params and its anchor after each step.

    The last are its params and state.
    """

    def step(carry, b_t):
        w, state = carry
        updates, state = tx.update(jnp.asarray(A) @ w - b_t, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), (w, prox_optax.get_anchor(state, w))

    first, of_first = step((w, state), b[0])  # from here on the params vary by worker
    last, of_others = jax.lax.scan(step, first, b[1:])
    both = jax.tree.map(
        lambda x, xs: jnp.concatenate([x[None], xs]), of_first, of_others
    )
    return *both, last


def expected():
    gradients = [lambda t, w, b=b: A @ w - b[t] for b in B]
    fast, slow = reference.diloco(
        gradients, W0, T, 0.1, 0.9, S, outer_rate=0.7, outer_momentum=0.9
    )
    return np.swapaxes(fast, 0, 1), slow


def mesh_of_workers():
    return jax.make_mesh((WORKERS,), ("workers",), axis_types=(AxisType.Auto,))


def check(fast, slow):
    """All workers have the anchor of the oracle, each its own params."""
    of_workers, shared = expected()
    np.testing.assert_allclose(fast, of_workers, **TOLERANCE)
    np.testing.assert_allclose(slow, np.stack([shared] * WORKERS), **TOLERANCE)
    for x in slow[1:]:
        np.testing.assert_array_equal(x, slow[0])


def test_diloco_by_vmap():
    with jax.enable_x64(True):
        tx, w = diloco(), jnp.asarray(W0)
        train = jax.vmap(lambda b: steps(tx, w, tx.init(w), b)[:2], axis_name="workers")
        check(*jax.jit(train)(jnp.asarray(B)))


def test_fedopt_by_vmap():
    """Adam outside, Reddi et al. 2021, algorithm 2 with FedAdam, bias-corrected."""
    rate, eps = 0.1, 1e-8
    w, m, v, bs, slow = W0, 0.0, 0.0, np.zeros((WORKERS, 6)), []
    for n in range(1, T // S + 1):
        ends = []
        for worker in range(WORKERS):
            x = w
            for t in range((n - 1) * S, n * S):
                bs[worker] = 0.9 * bs[worker] + A @ x - B[worker, t]
                x = x - 0.1 * bs[worker]
            ends.append(x)
        d = w - np.mean(ends, axis=0)
        m, v = 0.9 * m + 0.1 * d, 0.999 * v + 0.001 * d**2
        w = w - rate * m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + eps)
        slow.append([w] * WORKERS)
    with jax.enable_x64(True):
        outside = prox_optax.outer(optax.adam(rate), S, axis_name="workers")
        tx, w0 = optax.chain(optax.sgd(0.1, 0.9), outside), jnp.asarray(W0)
        train = jax.vmap(
            lambda b: steps(tx, w0, tx.init(w0), b)[1], axis_name="workers"
        )
        anchors = jax.jit(train)(jnp.asarray(B))
    found = np.swapaxes(anchors[:, S - 1 :: S], 0, 1)
    np.testing.assert_allclose(found, slow, **TOLERANCE)


@pytest.mark.parametrize("check_vma", [True, False])
def test_diloco_by_shard_map(check_vma):
    with jax.enable_x64(True):
        tx, w = diloco(), jnp.asarray(W0)

        def of_one(b):
            fast, slow, _ = steps(tx, w, tx.init(w), b[0])
            return fast[None], slow[None]

        train = jax.shard_map(
            of_one,
            mesh=mesh_of_workers(),
            in_specs=P("workers"),
            out_specs=P("workers"),
            check_vma=check_vma,
        )
        check(*jax.jit(train)(jnp.asarray(B)))


def one_update(tx, w, of_outer=SHARED):
    """Return an update of each worker's params, and the params and state at first.

    The state of the base optimizer is each worker's own; where that of ``outer`` lies
    is given.
    """
    state = tx.init(w)
    specs = P("workers"), (P("workers"), of_outer), P("workers")

    def split(tree, spec, leave):
        return tree if spec == SHARED else jax.tree.map(leave, tree)

    def of_one(ws, state, gs):
        w, own, g = jax.tree.map(lambda x: x[0], (ws, state[0], gs))
        shared = split(state[1], of_outer, lambda x: x[0])
        updates, (own, shared) = tx.update(g, (own, shared), w)
        own = jax.tree.map(lambda x: x[None], (optax.apply_updates(w, updates), own))
        return own[0], (own[1], split(shared, of_outer, lambda x: x[None]))

    mapped = jax.shard_map(
        of_one, mesh=mesh_of_workers(), in_specs=specs, out_specs=specs[:2]
    )

    def stack(x):
        return jnp.stack([x] * WORKERS)

    ws, own = jax.tree.map(stack, (w, state[0]))
    return jax.jit(mapped), ws, (own, split(state[1], of_outer, stack))


def test_the_state_is_one_for_all_workers():
    """It goes in and comes out replicated: anchor, outer momentum and step."""
    with jax.enable_x64(True):
        update, ws, state = one_update(diloco(), jnp.asarray(W0))
        of_workers, shared = expected()
        for t in range(T):
            gs = ws @ A.T - B[:, t]
            ws, state = update(ws, state, gs)
            np.testing.assert_allclose(ws, of_workers[:, t], **TOLERANCE)
            np.testing.assert_allclose(state[1].anchor, shared[t], **TOLERANCE)


def test_the_distances_are_the_only_communication():
    """None in the branch of ordinary updates, a sum in that of an outer step.

    Of both kinds the program has one: the mean of all leaves' distances.
    """
    w = {"bias": jnp.ones(3), "kernel": jnp.ones((8, 3))}
    update, ws, state = one_update(diloco(), w)
    text = update.lower(ws, state, ws).compile().as_text()
    program = hlo.parse(text)
    assert program.collectives(0) == set()
    assert program.collectives(1) == {"all-reduce"}
    alone, ws, state = one_update(diloco(None), w, P("workers"))
    assert "all-reduce" not in alone.lower(ws, state, ws).compile().as_text()


def test_a_mean_of_what_is_one_for_all():
    """Params and gradients that do not vary over the workers: as on one device."""
    tx = diloco()
    mapped = jax.shard_map(
        lambda w, state: tx.update(w, state, w),
        mesh=mesh_of_workers(),
        in_specs=P(),
        out_specs=P(),
    )
    w = jnp.asarray(W0, jnp.float32)
    state = expected_state = tx.init(w)
    for _ in range(S):
        updates, state = jax.jit(mapped)(w, state)
        expected_updates, expected_state = diloco(None).update(w, expected_state, w)
        np.testing.assert_allclose(updates, expected_updates, rtol=1e-6)


def test_no_average_without_a_name():
    with jax.enable_x64(True):
        tx, w = diloco(axis_name=None), jnp.asarray(W0)
        train = jax.vmap(lambda b: steps(tx, w, tx.init(w), b)[:2], axis_name="workers")
        fast, slow = jax.jit(train)(jnp.asarray(B))
    for i, b in enumerate(B):
        alone = reference.diloco(
            [lambda t, w, b=b: A @ w - b[t]], W0, T, 0.1, 0.9, S, 0.7, 0.9
        )
        np.testing.assert_allclose(fast[i], alone[0][:, 0], **TOLERANCE)
        np.testing.assert_allclose(slow[i], alone[1], **TOLERANCE)


def test_a_mean_over_two_axes():
    """Two hosts of two devices each: a tuple of names, the same numbers."""
    with jax.enable_x64(True):
        tx, w = diloco(("hosts", "devices")), jnp.asarray(W0)

        def of_one(b):
            return steps(tx, w, tx.init(w), b)[:2]

        train = jax.vmap(jax.vmap(of_one, axis_name="devices"), axis_name="hosts")
        fast, slow = jax.jit(train)(jnp.asarray(B).reshape(2, 2, T, 6))
        check(*(np.asarray(x).reshape(WORKERS, T, 6) for x in (fast, slow)))


def test_low_precision_is_averaged_in_float32():
    """The mean of bfloat16 distances is rounded once."""
    ws = jnp.asarray(RNG.normal(size=(WORKERS, 500)), jnp.bfloat16)
    a = jnp.asarray(RNG.normal(size=500), jnp.bfloat16)
    tx = prox_optax.outer(optax.trace(0.0), 1, axis_name="workers")
    state = prox_optax.set_anchor(tx.init(ws[0]), a)
    _, states = jax.vmap(
        lambda w: tx.update(jnp.zeros_like(w), state, w), axis_name="workers"
    )(ws)
    exact = np.mean(np.float64(a) - np.float64(ws), axis=0)
    seen = np.float64(states.outer_state.trace[0])
    # Half of the last of 8 binary digits; float32's rounding is far below.
    assert np.all(np.abs(seen - exact) <= 2.0**-8 * np.abs(exact) * (1 + 1e-3) + 1e-6)
