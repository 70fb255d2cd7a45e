"""python examples/federated_fedprox.py

FedProx: clients that hold about two digits each train from the server's model, pulled
to it, and the server averages what they send. Stragglers manage a part of the local
steps: FedAvg drops them, FedProx with mu = 0 keeps them, mu > 0 adds the pull. In round
t client k does partial work on

    h_k(w; w_t) = F_k(w) + mu / 2 ||w - w_t||^2,  gradient F_k'(w) + mu (w - w_t)

so lambda = mu / 2: `proximal(mu / 2, period=None)`, and `set_anchor` to w_t each round.
Li et al., "Federated Optimization in Heterogeneous Networks", arXiv 1812.06127.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
import typer
from digits import Images, Network, accuracy, cross_entropy, load
from flax import nnx
from matplotlib.figure import Figure

from prox_optax import proximal, set_anchor

CLIENTS, CHOSEN, BATCH, STEPS, ROUNDS = 40, 10, 10, 20, 50
STRAGGLERS = (0, 5, 9)  # of the CHOSEN clients of a round
LAST = 10  # rounds that a score is the mean of
RATES = np.geomspace(0.05, 1.0, 16)
MUS = (0.001, 0.01, 0.1, 1.0)
METHODS = {  # keeps stragglers; 16 pairs of learning rate and mu each to choose from
    "FedProx, mu = 0": (True, [(rate, 0.0) for rate in RATES]),
    "FedAvg": (False, [(rate, 0.0) for rate in RATES]),
    "FedProx, mu > 0": (True, [(rate, mu) for rate in RATES[2::4] for mu in MUS]),
}


def fedprox(rate, mu):
    return optax.chain(proximal(mu / 2, period=None), optax.sgd(rate))


def local_work(optimizer, gradient, state, server, work, batches):
    """A client's params after the first `work` of its steps from the server's."""

    def step(carry, at):
        t, batch = at
        params, state = carry
        updates, state = optimizer.update(gradient(params, batch), state, params)
        new = optax.apply_updates(params, updates), state
        return jax.tree.map(partial(jnp.where, t < work), new, carry), None

    start = server, set_anchor(state, server)
    return jax.lax.scan(step, start, (jnp.arange(len(batches)), batches))[0][0]


def aggregate(clients, sends):
    """The mean of the params of the clients that send theirs."""
    return jax.tree.map(lambda w: jnp.average(w, axis=0, weights=sends), clients)


def training(train, held_out, keeps, stragglers, pair, seed, rounds):
    """Accuracy of the server's model on `held_out` after each of `rounds`."""
    key = jax.random.key(seed)
    graph, server = nnx.split(Network(16, nnx.Rngs(key)))
    optimizer = fedprox(*pair)
    state = optimizer.init(server)
    shards = jnp.argsort(train.labels).reshape(2 * CLIENTS, -1)
    clients = jax.random.permutation(key, shards).reshape(CLIENTS, -1)

    def gradient(params, batch):
        x, y = train.pixels[batch], train.labels[batch]
        return jax.grad(lambda p: cross_entropy(nnx.merge(graph, p)(x), y))(params)

    def a_round(server, t):
        choice, part, order = jax.random.split(jax.random.fold_in(key, t), 3)
        chosen = jax.random.choice(choice, clients, (CHOSEN, 1), replace=False)
        late = jnp.arange(CHOSEN) < stragglers
        part = jax.random.randint(part, (CHOSEN,), 1, STEPS + 1)
        shape = CHOSEN, STEPS, BATCH
        batches = jax.random.randint(order, shape, 0, clients.shape[1])
        batches = jnp.take_along_axis(chosen, batches, axis=2)
        client = partial(local_work, optimizer, gradient, state, server)
        sent = jax.vmap(client)(jnp.where(late, part, STEPS), batches)
        server = aggregate(sent, 1.0 * (keeps | ~late))
        logits = nnx.merge(graph, server)(held_out.pixels)
        return server, accuracy(logits, held_out.labels)

    return jax.lax.scan(a_round, server, rounds)[1]


over_seeds = jax.vmap(training, (None, None, None, None, None, 0, None))
trainings = jax.jit(jax.vmap(over_seeds, (None, None, None, None, 0, None, None)))


def tuned(train, validation, test, stragglers, method, tiny):
    """The best pair on the validation images, and its test curves on fresh seeds."""
    keeps, pairs = method
    pairs = jnp.asarray(pairs[:1] if tiny else pairs)
    tuning, testing = jnp.arange(2 if tiny else 3), 100 + jnp.arange(2 if tiny else 10)
    setting, rounds = (keeps, stragglers), jnp.arange(2 if tiny else ROUNDS)
    curves = trainings(train, validation, *setting, pairs, tuning, rounds)
    best = pairs[curves[..., -LAST:].mean((1, 2)).argmax()]
    curves = trainings(train, test, *setting, best[None], testing, rounds)
    return best, np.asarray(curves[0], np.float64)


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    images, test = load()
    # 37 images are left over from shards of equal size.
    data = Images(*(x[397:] for x in images)), Images(*(x[:360] for x in images)), test
    text, fact = "", ""
    figure = Figure((10, 3.5), layout="constrained")
    panels = figure.subplots(1, len(STRAGGLERS), sharey=True)
    for panel, stragglers in zip(panels, STRAGGLERS, strict=True):
        runs = {k: tuned(*data, stragglers, m, tiny) for k, m in METHODS.items()}
        level = f"{stragglers / CHOSEN:.0%} stragglers"
        scores = {k: curves[:, -LAST:].mean(1) for k, (_, curves) in runs.items()}
        table = report.comparison(level, "test accuracy", scores)
        chosen = "; ".join(f"{k}: {w[0]:.2g}, {w[1]:g}" for k, (w, _) in runs.items())
        text += f"{table}\nLearning rate, mu: {chosen}.\n\n"
        dropped, pulled = (row.split(" | ")[-1] for row in table.split(" |\n")[-3:-1])
        fact += f"- {level}: the pull {pulled}; dropping them {dropped}\n"
        for (name, (_, curves)), style in zip(
            runs.items(), ("-", "-.", ":"), strict=True
        ):
            mean = curves.mean(0)
            panel.plot(1 + np.arange(len(mean)), mean, style, label=name)
        panel.set(title=level, xlabel="round")
    panels[0].set_ylabel("test accuracy (fraction)")
    panels[0].legend(loc="lower right")
    text += (
        f"Scores are means over the last {LAST} rounds. Each method chose among "
        f"{len(RATES)} settings, the pull so among fewer learning rates. Seeds differ, "
        f"the {len(test.labels)} test images do not.\n\n"
        f"To take away, in test accuracy minus that at mu = 0:\n\n{fact}"
    )
    report.show("federated_fedprox", __doc__.splitlines()[0], text, figure, out)


if __name__ == "__main__":
    typer.run(main)
