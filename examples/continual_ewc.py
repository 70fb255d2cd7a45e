"""`python examples/continual_ewc.py`: EWC and L2 Init, two tasks in sequence.

Task A is to read digits, task B to read them with their pixels permuted. After A, EWC
adds lambda / 2 sum_i F_i (w_i - a_i)^2 to the loss of B, with a the parameters at the
end of A and F the diagonal of the Fisher information there. `proximal(strength,
period=None)` adds strength_i (w_i - a_i)^2 with a from `set_anchor`: the tree of
strengths is lambda / 2 F. L2 Init adds lambda ||w - w0||^2 in both tasks, with w0 the
initialisation: strength = lambda. "L2 to A" is EWC without F. None of them keeps data
of A in task B, nor do plain training and L2; what does, is not compared here.

Each method gets 24 trials; the mean validation accuracy over both tasks and the seeds
0-9 chooses, and the same runs are tested on the test images.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
arXiv 1612.00796; Kumar, Marklund, Van Roy (L2 Init), CoLLAs 2024, arXiv 2308.11958.
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
from tuning import CHOSEN, best_records, choices, grid, train, trial_records, tune

from prox_optax import fisher_diagonal, proximal, set_anchor

HIDDEN, BATCH, RATE_A, MEASURE = 64, 32, 0.1, "test accuracy (fraction)"
AFTER_A = "Task A right after A"
TRAIN, HELD_OUT, TEST = digits.load(validation=300)
GRAPH = digits.graph(HIDDEN)


def ewc(rate, strength, fisher):
    """L2 towards the anchor where `fisher` is 1, plain SGD where `strength` is 0."""
    strengths = jax.tree.map(lambda f: strength * f, fisher)
    return optax.chain(proximal(strengths, period=None), optax.sgd(rate, momentum=0.9))


RATES = np.geomspace(0.001, 0.1, 4)
METHODS = {
    "plain": grid(rate=np.geomspace(0.001, 0.1, 24), strength=[0.0]),
    "L2 to A": grid(rate=RATES, strength=np.geomspace(1e-4, 1, 6)),
    "EWC": grid(rate=RATES, strength=np.geomspace(0.1, 1e4, 6)),
    "L2 Init": grid(rate=RATES, strength=np.geomspace(1e-5, 0.1, 6)),
}


def fisher_of_a(params, key):
    """Return the Fisher information of task A, from all its images."""
    examples = TRAIN.pixels, jax.random.split(key, len(TRAIN.labels))
    return fisher_diagonal(partial(digits.surprise, GRAPH), params, examples)


def learn(images, optimizer, params, anchor, key, steps):
    """Return the parameters after a task."""

    def loss(params, rows):
        return digits.loss(GRAPH, params, images.take(rows))

    state = set_anchor(optimizer.init(params), anchor)
    batches = jax.random.randint(key, (steps, BATCH), 0, len(images.labels))
    return train(loss, optimizer, params, state, batches)[0]


def task_a(steps, key):
    """Return the parameters before and after task A, and its Fisher information."""
    keys = jax.random.split(key, 3)
    start = nnx.state(digits.Network(HIDDEN, nnx.Rngs(keys[0])))
    params = learn(TRAIN, ewc(RATE_A, 0.0, 1.0), start, start, keys[1], steps)
    return start, params, fisher_of_a(params, keys[2])


def task_b(name, steps, trial, key, order, start, after_a, fisher):
    """Task B behind A; L2 Init pulls to the start in both."""
    keys, strength = jax.random.split(key), trial["strength"]
    params, anchor = after_a, after_a
    if name == "L2 Init":
        params = learn(TRAIN, ewc(RATE_A, strength, 1.0), start, start, keys[0], steps)
        anchor = start
    optimizer = ewc(trial["rate"], strength, fisher if name == "EWC" else 1.0)
    images = TRAIN._replace(pixels=TRAIN.pixels[:, order])
    params = learn(images, optimizer, params, anchor, keys[1], steps)
    return accuracies(HELD_OUT, params, order), params


def accuracies(images, params, order):
    """On task A and on task B."""
    permuted = images._replace(pixels=images.pixels[:, order])
    return jnp.array([digits.accuracy(GRAPH, params, x) for x in (images, permuted)])


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, steps = (2, 3) if tiny else (10, 400)
    first, second = jax.random.split(jax.random.key(0), (2, seeds))
    orders = np.array([np.random.default_rng(i).permutation(64) for i in range(seeds)])
    after_a = jax.jit(jax.vmap(partial(task_a, steps)))(first)
    tuned = {
        name: tune(partial(task_b, name, steps), trials, second, orders, *after_a)
        for name, trials in METHODS.items()
    }
    test = jax.jit(jax.vmap(partial(accuracies, TEST)))
    scores = {
        name: records.as_written(test(t.outcome, orders)) for name, t in tuned.items()
    }
    means = {name: records.as_written(x.mean(axis=1)) for name, x in scores.items()}
    tables = {
        "Mean of tasks A and B": means,
        "Task A after B": {name: x[:, 0] for name, x in scores.items()},
        "Task B": {name: x[:, 1] for name, x in scores.items()},
    }
    pairs = ("EWC", "plain"), ("EWC", "L2 to A"), ("L2 Init", "plain")
    old = records.as_written(test(after_a[1], orders)[:, 0])
    facts = report.verdicts(means, *pairs)
    text = (
        f"{report.comparisons(MEASURE, tables)}\n{choices(tuned)}\n"
        f"{AFTER_A}: {old.mean():.4f}. "
        f"Mean of both tasks: {facts}\n"
    )
    figure = report.draw(["A, the old", "B, the new"], {"": scores}, "task", MEASURE)
    raw = trial_records(CHOSEN, tuned)
    raw += records.of_trials(AFTER_A, "test", "before B", {}, old[None])
    for title, x in tables.items():
        raw += best_records(title, tuned, x)
    report.show("continual_ewc", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
