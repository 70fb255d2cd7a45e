"""`python examples/continual_ewc.py`: EWC, three tasks one after the other.

The first task is to read digits, each further one to read them with their pixels in
another order; the data of a finished task may not be kept. Plain training forgets the
old tasks. EWC pulls each weight to where the old tasks left it, as strongly as they
need it: after a task `fisher_diagonal` measures that, `consolidate` adds it to what is
known of the tasks before, and `decoupled_proximal` pulls. L2-SP pulls all alike.

Rates and strengths are those that the benchmark continual-digits chose for two tasks,
on validation images. That benchmark compares EWC with its peers; this is how to use it.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
arXiv 1612.00796; Schwarz et al. (online EWC), ICML 2018, arXiv 1805.06370.
"""

from functools import partial
from pathlib import Path

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
import typer
from flax import nnx
from tuning import train

from prox_optax import consolidate, decoupled_proximal, fisher_diagonal, set_anchor

HIDDEN, BATCH, TASKS, FIRST_RATE = 64, 32, 3, 0.1
METHODS = {"plain": (0.00343, 0.0), "L2-SP": (0.0512, 0.1), "EWC": (0.0512, 320.0)}
TRAIN, _, TEST = digits.load()
GRAPH = digits.graph(HIDDEN)
MEASURE = "test accuracy (fraction)"
OLD, NEW = "Old tasks after the last one", "The last task"


def pulled(rate, strength, fisher):
    """Return SGD with a step to the anchor; lambda / 2 of EWC is the strength."""
    weights = jax.tree.map(lambda f: strength * f, fisher)
    pull = decoupled_proximal(weights, period=None, learning_rate=rate)
    return optax.chain(optax.sgd(rate, momentum=0.9), pull)


def needed(images, params, key):
    """Return how much a task needs each weight: its Fisher information."""
    examples = images.pixels, jax.random.split(key, len(images.labels))
    return fisher_diagonal(partial(digits.surprise, GRAPH), params, examples)


def learn(images, optimizer, params, anchor, key, steps):
    """Return the parameters after a task."""

    def loss(params, rows):
        return digits.loss(GRAPH, params, images.take(rows))

    state = set_anchor(optimizer.init(params), anchor)
    batches = jax.random.randint(key, (steps, BATCH), 0, len(images.labels))
    return train(loss, optimizer, params, state, batches)[0]


def in_order(images, order):
    """Return images with their pixels in another order."""
    return images._replace(pixels=images.pixels[:, order])


def drawn_orders(seed):
    """Return the order of the pixels in each task; the first is as they are."""
    rng = np.random.default_rng(seed)
    return [np.arange(64), *(rng.permutation(64) for _ in range(1, TASKS))]


def all_tasks(name, steps, key, orders):
    """Return the accuracy on each task after the last one, shape (tasks,)."""
    (rate, strength), keys = METHODS[name], jax.random.split(key, (TASKS, 2))
    params = nnx.state(digits.Network(HIDDEN, nnx.Rngs(jax.random.fold_in(key, 0))))
    fisher, anchor = optax.tree.zeros_like(params), params
    optimizer = pulled(FIRST_RATE, 0.0, fisher)
    for order, (batches, drawn) in zip(orders, keys, strict=True):
        images = in_order(TRAIN, order)
        params = learn(images, optimizer, params, anchor, batches, steps)
        if name == "EWC":
            new = needed(images, params, drawn)
            fisher, anchor = consolidate(fisher, anchor, new, params)
        else:
            fisher, anchor = 1.0, params
        optimizer = pulled(rate, strength, fisher)
    tests = [in_order(TEST, order) for order in orders]
    return jnp.stack([digits.accuracy(GRAPH, params, each) for each in tests])


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Train on all tasks with each method; compare old and new tasks."""
    seeds, steps = (2, 3) if tiny else (10, 400)
    keys = jax.random.split(jax.random.key(0), seeds)
    orders = np.array([drawn_orders(seed) for seed in range(seeds)])

    def of_all_seeds(name):
        return jax.jit(jax.vmap(partial(all_tasks, name, steps)))(keys, orders)

    scores = {name: np.asarray(of_all_seeds(name)) for name in METHODS}
    of_old = {name: x[:, :-1].mean(axis=1) for name, x in scores.items()}
    of_new = {name: x[:, -1] for name, x in scores.items()}
    tables = {
        title: {name: records.as_written(x) for name, x in found.items()}
        for title, found in ((OLD, of_old), (NEW, of_new))
    }
    figure = report.draw(["1", "2", "3"], {"": scores}, "task", MEASURE)
    raw = [
        row
        for title, found in tables.items()
        for name, x in found.items()
        for row in records.of_trials(title, "test", name, {}, x[np.newaxis])
    ]
    text = report.comparisons(MEASURE, tables)
    report.show("continual_ewc", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
