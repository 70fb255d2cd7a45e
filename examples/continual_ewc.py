"""`python examples/continual_ewc.py`: EWC and L2 Init, two tasks in sequence.

Task A is to read digits, task B to read them with their pixels permuted. After A, EWC
adds lambda / 2 sum_i F_i (w_i - a_i)^2 to the loss of B, with a the parameters at the
end of A and F the diagonal of the Fisher information there. `proximal(strength,
period=None)` adds strength_i (w_i - a_i)^2: the tree of strengths is lambda / 2 F, and
`init` at the end of A takes the anchor. L2 Init adds lambda ||w - w0||^2 in both tasks,
towards the initialisation w0: strength = lambda. It is meant for plasticity.

"L2 to A" is EWC without F. Each method gets 24 trials; the mean validation accuracy
over both tasks and all seeds chooses.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
arXiv 1612.00796; Kumar, Marklund, Van Roy, "Maintaining Plasticity in Continual
Learning via Regenerative Regularization", CoLLAs 2024, arXiv 2308.11958.
"""

from functools import partial
from pathlib import Path

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
import typer
from flax import nnx
from matplotlib.figure import Figure
from tuning import choices, grid, train, tune

from prox_optax import proximal, set_anchor

HIDDEN, BATCH, VALIDATION, RATE_A = 64, 32, 300, 0.1
IMAGES, TEST = digits.load()
HELD_OUT = digits.Images(*(x[:VALIDATION] for x in IMAGES))
TRAIN = digits.Images(*(x[VALIDATION:] for x in IMAGES))


def network(key):
    return digits.Network(HIDDEN, nnx.Rngs(key))


GRAPH = nnx.graphdef(nnx.eval_shape(lambda: network(jax.random.key(0))))


def plain(rate, fisher):
    return optax.sgd(rate, momentum=0.9)


def anchored(rate, strength, fisher):
    return optax.chain(proximal(strength, period=None), plain(rate, fisher))


def ewc(rate, strength, fisher):
    strengths = jax.tree.map(lambda f: strength * f, fisher)
    return optax.chain(proximal(strengths, period=None), plain(rate, fisher))


RATES = np.geomspace(0.001, 0.1, 4)
METHODS = {
    "plain": (plain, grid(rate=np.geomspace(0.001, 0.1, 24))),
    "L2 to A": (anchored, grid(rate=RATES, strength=np.geomspace(1e-4, 1, 6))),
    "EWC": (ewc, grid(rate=RATES, strength=np.geomspace(0.1, 1e4, 6))),
    "L2 Init": (anchored, grid(rate=RATES, strength=np.geomspace(1e-5, 0.1, 6))),
}


def learn(optimizer, params, state, pixels_order, key, steps):
    """The parameters at the end of a task."""

    def loss(params, rows):
        logits = nnx.merge(GRAPH, params)(TRAIN.pixels[rows][:, pixels_order])
        return digits.cross_entropy(logits, TRAIN.labels[rows])

    batches = jax.random.randint(key, (steps, BATCH), 0, len(TRAIN.labels))
    return train(loss, optimizer, params, state, batches)[0]


def task_a(optimizer, start, key, steps):
    return learn(optimizer, start, optimizer.init(start), jnp.arange(64), key, steps)


def prepare(steps, key):
    """The network before and after task A, and the Fisher information at its end."""
    keys = jax.random.split(key, 3)
    start = nnx.state(network(keys[0]))
    params = task_a(plain(RATE_A, None), start, keys[1], steps)
    return start, params, fisher_diagonal(params, keys[2])


def task_b(name, method, steps, trial, key, pixels_order, start, after_a, fisher):
    """Task B behind A; L2 Init pulls to the start in both."""
    keys, optimizer = jax.random.split(key), method(**trial, fisher=fisher)
    params, state = after_a, optimizer.init(after_a)
    if name == "L2 Init":
        pulled = method(RATE_A, trial["strength"], fisher)
        params = task_a(pulled, start, keys[0], steps)
        state = set_anchor(state, start)
    params = learn(optimizer, params, state, pixels_order, keys[1], steps)
    return accuracies(params, pixels_order, HELD_OUT), params


def fisher_diagonal(params, key):
    """Mean squared score over the images of A, labels drawn from the network."""

    def squared_score(pixels, key):
        def log_likelihood(params):
            logits = nnx.merge(GRAPH, params)(pixels)
            label = jax.random.categorical(key, logits)
            return jax.nn.log_softmax(logits)[label]

        return jax.tree.map(jnp.square, jax.grad(log_likelihood)(params))

    keys = jax.random.split(key, len(TRAIN.labels))
    scores = jax.vmap(squared_score)(TRAIN.pixels, keys)
    return jax.tree.map(lambda x: x.mean(axis=0), scores)


def accuracies(params, pixels_order, images):
    """On task A and on task B."""
    read = nnx.merge(GRAPH, params)
    tasks = images.pixels, images.pixels[:, pixels_order]
    return jnp.array([digits.accuracy(read(x), images.labels) for x in tasks])


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, steps = (2, 3) if tiny else (10, 400)
    first, second = jax.random.split(jax.random.key(0), (2, seeds))
    orders = np.array([np.random.default_rng(i).permutation(64) for i in range(seeds)])
    after = jax.jit(jax.vmap(partial(prepare, steps)))(first)
    tuned = {
        name: tune(partial(task_b, name, method, steps), trials, second, orders, *after)
        for name, (method, trials) in METHODS.items()
    }
    test = jax.jit(jax.vmap(lambda *seed: accuracies(*seed, TEST)))
    tests = {name: np.asarray(test(t.outcome, orders)) for name, t in tuned.items()}
    on_a, on_b = ({name: x[:, task] for name, x in tests.items()} for task in (0, 1))
    both = {name: x.mean(axis=1) for name, x in tests.items()}

    measure = "test accuracy (fraction)"
    titles = {"Mean of tasks A and B": both, "Task A after B": on_a, "Task B": on_b}
    tables = [report.comparison(title, measure, x) for title, x in titles.items()]
    right_after = test(after[1], orders)[:, 0].mean()
    text = "\n".join([*tables, choices(tuned)]) + (
        f"\nRight after task A its accuracy is {right_after:.4f}; after task B plain "
        f"training keeps {on_a['plain'].mean():.4f}, EWC {on_a['EWC'].mean():.4f}. "
        f"Mean of both tasks: {report.verdict(both, 'EWC', 'plain')} "
        f"{report.verdict(both, 'EWC', 'L2 to A')} "
        f"{report.verdict(both, 'L2 Init', 'plain')}\n"
    )
    command = "python examples/continual_ewc.py" + " --tiny" * tiny
    report.show("continual_ewc", command, text, draw(tuned), out)


def draw(tuned):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel="validation accuracy on task B, the new (fraction)",
        ylabel="validation accuracy on task A, the old (fraction)",
    )
    for name, t in tuned.items():
        a, b = np.moveaxis(t.scores.mean(axis=1), 1, 0)
        (dots,) = axes.plot(b, a, ".", alpha=0.5)
        best = t.validation.argmax()
        axes.plot(b[best], a[best], "*", ms=14, color=dots.get_color(), label=name)
    axes.legend(title="star: chosen, dot: a trial", markerscale=0.6)
    return figure


if __name__ == "__main__":
    typer.run(main)
