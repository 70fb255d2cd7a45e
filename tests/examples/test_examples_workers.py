"""FedProx and EASGD: the scripts run, and their updates are those of the papers.

The oracles transcribe each paper's own equations in NumPy float64, for workers with
quadratic losses F_i(w) = w.A_i w / 2 - b.w, where b differs at each step.
"""

from functools import partial

import elastic_averaging
import federated_fedprox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
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
