"""The examples with a fixed or periodic anchor run, and are their papers' updates.

Each oracle is the paper's own formula in its own letters, NumPy float64, no JAX.
"""

import continual_ewc
import digits
import diloco_bytes
import finetune_forget_less
import finetune_l2sp
import jax
import jax.numpy as jnp
import mixed_precision
import noisy_labels_rdi
import numpy as np
import optax
import pytest
import slrla
from flax import nnx

from prox_optax import consolidate, proximal, set_anchor

# The same float64 operations in another order: over 40 steps towards a minimum rounding
# errors of 1e-16 are not amplified, up to the 1 / (1 - 0.9) of the momentum.
TOLERANCE = 1e-12

T, ETA, MU = 20, 0.1, 0.9
RNG = np.random.default_rng(0)
X, X_B = RNG.normal(size=(2, 12, 5))
Y, Y_B = RNG.integers(0, 2, size=(2, 12))
W0 = RNG.normal(size=5)
START = W0 + 0.5


@pytest.fixture
def _quick_compilation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
@pytest.mark.usefixtures("_quick_compilation")
@pytest.mark.filterwarnings("ignore:anchor_dtype=bfloat16 is less precise")
@pytest.mark.parametrize(
    "example",
    [
        finetune_l2sp,
        finetune_forget_less,
        continual_ewc,
        diloco_bytes,
        mixed_precision,
        noisy_labels_rdi,
        slrla,
    ],
)
def test_tiny_run_writes_its_text_and_figure(example, tmp_path, capsys):
    name = example.__name__
    assert example.__doc__.startswith(f"`python examples/{name}.py`")

    example.main(tiny=True, out=tmp_path)

    text = (tmp_path / f"{name}.md").read_text()
    assert "(n=2)" in text
    assert f"`python examples/{name}.py --tiny` on" in text
    assert text in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    rows = (tmp_path / f"{name}.csv").read_text().splitlines()
    assert rows[0].startswith("table,method,")
    assert len(rows) > 2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def logistic_gradient(w, X, Y):
    return X.T @ (sigmoid(X @ w) - Y) / len(Y)


def momentum_sgd(gradient, w, v, T=T):
    """Heavy ball, as in the papers' experiments."""
    for _ in range(T):
        v = MU * v + gradient(w)
        w = w - ETA * v
    return w, v


def logistic_loss(w, X, Y):
    return optax.losses.sigmoid_binary_cross_entropy(X @ w, Y).mean()


def run(optimizer, loss, params, state, T=T):
    """Parameters and state after T steps, jit-compiled."""

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(T):
        params, state = step(params, state)
    return params, state


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.fixture
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("_float64")
def test_l2_sp_is_the_papers():
    """Omega = alpha / 2 ||w_S - w_S^0||^2 + beta / 2 ||w_S'||^2, S' the new head."""
    alpha, beta = 0.3, 0.05

    def gradient(w):
        omega = np.concatenate([alpha * (w[:3] - START[:3]), beta * w[3:]])
        return logistic_gradient(w, X, Y) + omega

    expected, _ = momentum_sgd(gradient, START, 0.0)

    def loss(params):
        w = jnp.concatenate([params["body"], params["head"]])
        return logistic_loss(w, X, Y)

    params = nnx.State({"body": jnp.array(START[:3]), "head": jnp.array(START[3:])})
    optimizer = finetune_l2sp.l2_sp(ETA, alpha / 2, beta)
    actual, _ = run(optimizer, loss, params, optimizer.init(params))
    close(np.concatenate([actual["body"], actual["head"]]), expected)


@pytest.mark.usefixtures("_float64")
def test_ewc_is_the_papers():
    """L_B + sum_i lambda / 2 F_i (theta_i - theta*_A,i)^2, F_i = E[score_i^2] in A."""
    lam = 30.0
    theta_a, _ = momentum_sgd(lambda w: logistic_gradient(w, X, Y), START, 0.0)
    p = sigmoid(X @ theta_a)
    F = np.mean((p * (1 - p))[:, None] * X**2, axis=0)

    def gradient(w):
        return logistic_gradient(w, X_B, Y_B) + lam * F * (w - theta_a)

    expected, _ = momentum_sgd(gradient, theta_a, 0.0)

    w, b = jnp.array(theta_a), penalised(lam / 2 * F)
    actual, _ = run(b, lambda w: logistic_loss(w, X_B, Y_B), w, b.init(w))
    close(actual, expected)


def penalised(strength):
    """SGD with momentum on the loss and the penalty, in the README's two lines."""
    return optax.chain(proximal(strength, period=None), optax.sgd(ETA, momentum=MU))


@pytest.mark.usefixtures("_float64")
def test_the_decoupled_ewc_of_two_old_tasks():
    """The step to the minimum: (w + u + sum_k r_k a_k) / (1 + sum_k r_k)."""
    lam = 30.0
    (F, a), (F_2, a_2) = ((RNG.uniform(size=5), RNG.normal(size=5)) for _ in range(2))
    w, v = a_2, 0.0
    r, r_2 = ETA * lam * F, ETA * lam * F_2
    for _ in range(T):
        v = MU * v + logistic_gradient(w, X, Y)
        w = (w - ETA * v + r * a + r_2 * a_2) / (1 + r + r_2)

    total, anchor = consolidate(*map(jnp.array, (F, a, F_2, a_2)))
    optimizer = continual_ewc.pulled(ETA, lam / 2, total)
    start = jnp.array(a_2)
    state = set_anchor(optimizer.init(start), anchor)
    actual, _ = run(optimizer, lambda w: logistic_loss(w, X, Y), start, state)
    close(actual, w)


@pytest.mark.usefixtures("_quick_compilation")
def test_fisher_of_the_example_is_the_mean_squared_score():
    """E[(d log p(y | x) / d theta_i)^2] by hand, for the labels the network drew."""
    key, images = jax.random.key(0), jax.tree.map(lambda x: x[:50], continual_ewc.TRAIN)
    params = nnx.state(digits.Network(continual_ewc.HIDDEN, nnx.Rngs(key)))
    fisher = jax.jit(continual_ewc.needed)(images, params, key)

    x = np.asarray(images.pixels, np.float64)
    (b1, W1), (b2, W2) = (
        (np.asarray(layer["bias"]), np.asarray(layer["kernel"], np.float64))
        for layer in (params["body"], params["head"])
    )
    h = np.maximum(x @ W1 + b1, 0)
    logits = h @ W2 + b2
    keys = jax.random.split(key, len(x))
    draw = jax.jit(jax.vmap(jax.random.categorical))
    labels = np.asarray(draw(keys, jnp.float32(logits)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    score = np.eye(10)[labels] - p
    hidden = (score @ W2.T) * (h > 0)
    n = len(x)
    expected = [(hidden**2).mean(0), (x**2).T @ hidden**2 / n]
    expected += [(score**2).mean(0), (h**2).T @ score**2 / n]
    for actual, by_hand in zip(jax.tree.leaves(fisher), expected, strict=True):
        # float32 sums over 50 images
        np.testing.assert_allclose(actual, by_hand, rtol=1e-4, atol=1e-8)


@pytest.mark.usefixtures("_float64")
def test_l2_init_is_the_papers():
    """L + lambda ||theta - theta_0||^2, with the same theta_0 for every task."""
    lam = 0.2

    def gradient(X, Y):
        return lambda w: logistic_gradient(w, X, Y) + 2 * lam * (w - W0)

    w, _ = momentum_sgd(gradient(X, Y), START, 0.0)
    expected, _ = momentum_sgd(gradient(X_B, Y_B), w, 0.0)

    optimizer = penalised(lam)
    w = jnp.array(START)
    for x, y in ((X, Y), (X_B, Y_B)):
        state = set_anchor(optimizer.init(w), jnp.array(W0))
        w, _ = run(optimizer, lambda w, x=x, y=y: logistic_loss(w, x, y), w, state)
    close(w, expected)


@pytest.mark.usefixtures("_float64")
def test_rdi_is_the_papers():
    """Gradient descent on sum_i (f_i - y_i)^2 / 2 + lambda^2 / 2 ||theta - theta_0||^2.

    Ours is the mean of the losses: rate * n, strength lambda^2 / (2 n).
    """
    lam, eta, n = 0.7, 0.002, len(Y)
    w, v = START, 0.0
    for _ in range(T):
        v = MU * v + X.T @ (X @ w - Y) + lam**2 * (w - START)
        w = w - eta * v

    optimizer = noisy_labels_rdi.rdi(eta * n, lam**2 / (2 * n))
    start = jnp.array(START)
    actual, _ = run(
        optimizer,
        lambda w: jnp.mean((X @ w - Y) ** 2 / 2),
        start,
        optimizer.init(start),
    )
    close(actual, w)


@pytest.mark.usefixtures("_float64")
def test_slrla_is_the_papers():
    """Inner steps on L + beta ||w - slow||^2; after k of them slow += alpha (w - slow).

    As in the published code, whose momentum carries over.
    """
    beta, k, alpha = 0.2, 5, 0.5
    slow, v = START, 0.0
    for _ in range(T // k):

        def gradient(w, slow=slow):
            return logistic_gradient(w, X, Y) + 2 * beta * (w - slow)

        fast, v = momentum_sgd(gradient, slow, v, k)
        slow = slow + alpha * (fast - slow)

    optimizer = slrla.slrla(ETA)
    params = optax.LookaheadParams.init_synced(jnp.array(START))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(logistic_loss)(params.fast, X, Y)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(T):
        params, state = step(params, state)
    close(params.slow, slow)
    close(params.fast, slow)
