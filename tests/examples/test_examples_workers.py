"""FedProx, EASGD, DiLoCo: the scripts run, their updates are those of the papers.

The oracles transcribe each paper's own equations in NumPy float64, for workers with
quadratic losses F_i(w) = w.A_i w / 2 - b.w, where b differs at each step.
"""

from functools import partial

import digits
import diloco_bytes
import elastic_averaging
import federated_fedprox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_diloco
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from prox_optax import decoupled_proximal, set_anchor

# The oracles do the same float64 operations in another order: 20 steps of rounding
# errors of 1e-16 on numbers of about 1, which these contractions do not amplify.
TOLERANCE = 1e-12

WORKERS, T, ETA = 8, 20, 0.2
RNG = np.random.default_rng(0)
A = RNG.normal(size=(WORKERS, 6, 6)) / 6
A = A @ A.transpose(0, 2, 1) + 0.3 * np.eye(6)
B = RNG.normal(size=(WORKERS, T, 6))
W0 = RNG.normal(size=6)


batches_psum = pytest.mark.skipif(
    jax.__version_info__ < (0, 9),
    reason="elastic_averaging: jax 0.8 does not batch a psum of shard_map",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "example", [federated_fedprox, pytest.param(elastic_averaging, marks=batches_psum)]
)
def test_script_runs(example, tmp_path, capsys):
    name = example.__name__
    assert example.__doc__.splitlines()[0] == f"python examples/{name}.py"
    example.main(tiny=True, out=tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    rows = (tmp_path / f"{name}.csv").read_text().splitlines()
    assert rows[0].startswith("table,method,")
    assert len(rows) > 2
    text = (tmp_path / f"{name}.md").read_text()
    assert text in capsys.readouterr().out
    for part in (*(f"\n| {method} |" for method in example.METHODS), "To take away"):
        assert part in text


def fedprox(mu, works, sends, steps):
    """Algorithm 2: client k takes `works[k]` steps on h_k(w; w_t), senders average.

    grad h_k(w; w_t) = grad F_k(w) + mu (w - w_t)
    """
    server, servers = W0, []
    for t in range(len(works)):
        sent = []
        for k in range(WORKERS):
            w = server.copy()
            for b in B[k, t * steps : t * steps + works[t, k]]:
                w = w - ETA * (A[k] @ w - b + mu * (w - server))
            sent.append(w)
        server = np.mean([w for w, s in zip(sent, sends[t], strict=True) if s], axis=0)
        servers.append(server)
    return np.array(servers)


@pytest.mark.parametrize("mu", [0.0, 0.7])
@pytest.mark.parametrize("keeps", [True, False], ids=["partial work", "dropped"])
def test_fedprox_follows_the_paper(mu, keeps):
    rounds, steps = 4, T // 4
    works = np.random.default_rng(1).integers(1, steps + 1, (rounds, WORKERS))
    works[:, :2] = steps
    sends = keeps | (works == steps)

    optimizer = federated_fedprox.fedprox(ETA, mu)

    @jax.jit
    def a_round(state, server, work, sends, batches):
        def client(A, work, batches):
            gradient = lambda w, b: A @ w - b  # noqa: E731
            args = state, server, work, batches
            return federated_fedprox.local_work(optimizer, gradient, *args)

        sent = jax.vmap(client)(jnp.asarray(A), work, batches)
        return federated_fedprox.aggregate(sent, sends)

    with jax.enable_x64(True):
        server, servers = jnp.asarray(W0), []
        state = optimizer.init(server)
        for t in range(rounds):
            batches = B[:, t * steps : (t + 1) * steps]
            server = a_round(state, server, works[t], 1.0 * sends[t], batches)
            servers.append(np.asarray(server))

    expected = fedprox(mu, works, sends, steps)
    np.testing.assert_allclose(servers, expected, rtol=0, atol=TOLERANCE)


def easgd(tau, alpha, beta):
    """Equations (5) and (6) where tau divides t, SGD in between: c after each step."""
    x, c, centres = np.tile(W0, (WORKERS, 1)), W0, []
    for t in range(T):
        gradients = np.array([A[i] @ x[i] - B[i, t] for i in range(WORKERS)])
        a, b = (alpha, beta) if t % tau == 0 else (0.0, 0.0)
        x, c = x - ETA * gradients - a * (x - c), (1 - b) * c + b * x.mean(axis=0)
        centres.append(c)
    return np.array(centres)


@pytest.mark.parametrize("tau", [1, 5])
def test_easgd_follows_the_paper(tau):
    mesh = jax.make_mesh((WORKERS,), ("worker",), axis_types=(AxisType.Auto,))

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P("worker"), out_specs=P("worker"))
    def centres(A, batches):
        params = jax.lax.pcast(jnp.asarray(W0), "worker", to="varying")
        loss = lambda w, b: w @ A[0] @ w / 2 - b @ w  # noqa: E731
        args = lambda c: c, params, ETA, batches[0]
        return elastic_averaging.elastic(loss, *args)[None]

    with jax.enable_x64(True):
        actual = centres(A, B.reshape(WORKERS, T // tau, tau, 6))

    beta = elastic_averaging.BETA
    expected = easgd(tau, beta / WORKERS, beta)[tau - 1 :: tau]
    for centre in np.asarray(actual):
        np.testing.assert_allclose(centre, expected, rtol=0, atol=TOLERANCE)


def test_decoupled_form_of_easgd():
    """Behind SGD of eta / (1 - alpha), as the script's docstring says."""
    alpha = 0.3
    optimizer = optax.chain(
        optax.sgd(ETA / (1 - alpha)),
        decoupled_proximal(alpha / (1 - alpha) / 2, period=None),
    )
    x, c, g = B[0, :3]
    with jax.enable_x64(True):
        state = set_anchor(optimizer.init(jnp.asarray(x)), jnp.asarray(c))
        update, _ = optimizer.update(jnp.asarray(g), state, jnp.asarray(x))
    expected = -ETA * g - alpha * (x - c)
    np.testing.assert_allclose(np.asarray(update), expected, rtol=0, atol=TOLERANCE)


def one_by_one(name, rate, momentum, rounds, workers, images, held_out, seed):
    """Return the losses of workers one after the other; averages in NumPy float64."""
    net = digits.graph(train_diloco.HIDDEN)
    key, n = jax.random.key(seed), len(images.labels) // workers
    drawn = digits.initial(key[None], train_diloco.HIDDEN)
    structure = jax.tree.structure(drawn)
    slow = [np.float64(x[0]) for x in jax.tree.leaves(drawn)]
    tx, b, losses = optax.adamw(rate), [0.0] * len(slow), []

    def as_tree(xs):
        return jax.tree.unflatten(structure, [jnp.float32(x) for x in xs])

    states, fast = [tx.init(as_tree(slow))] * workers, [slow] * workers
    gradient = jax.jit(lambda p, x: jax.grad(digits.loss, 1)(net, p, x))
    update = jax.jit(tx.update)

    @jax.jit
    @jax.vmap
    def draw(key):
        return jax.random.randint(key, (train_diloco.BATCH,), 0, n)

    def stepped(w, state, grads):
        updates, state = update(as_tree(grads), state, as_tree(w))
        return [x + y for x, y in zip(w, jax.tree.leaves(updates), strict=True)], state

    for t in range(rounds):
        shape = train_diloco.PERIOD, workers
        for keys in jax.random.split(jax.random.fold_in(key, t), shape):
            rows, found = draw(keys), []
            for k, w in enumerate(fast):
                batch = images.take(rows[k] + k * n)
                found.append(jax.tree.leaves(gradient(as_tree(w), batch)))
            if name == "data-parallel":
                found = [[np.mean(x, 0) for x in zip(*found, strict=True)]] * workers
            both = [stepped(*x) for x in zip(fast, states, found, strict=True)]
            fast, states = map(list, zip(*both, strict=True))
        if name == "DiLoCo":
            ds = [a - np.mean(w, 0) for a, *w in zip(slow, *fast, strict=True)]
            b = [momentum * x + d for x, d in zip(b, ds, strict=True)]
            moves = [0.7 * (d + momentum * x) for x, d in zip(b, ds, strict=True)]
            slow = [a - x for a, x in zip(slow, moves, strict=True)]
            fast = [slow] * workers
        losses.append(float(digits.loss(net, as_tree(fast[0]), held_out)))
    return losses


@pytest.mark.parametrize("name", diloco_bytes.METHODS)
def test_diloco_and_data_parallel_training_are_workers_one_by_one(name):
    """40 steps in float32: rounding of 1e-7 a step of about 1e-2, grown a little."""
    images, held_out, _ = digits.load(validation=360)
    numbers, others = (0.01, 0.5), (2, 2, images, held_out)
    run = partial(diloco_bytes.training, name, *others[:2])
    found = jax.jit(run)(*others[2:], *numbers, 3)
    expected = one_by_one(name, *numbers, *others, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
