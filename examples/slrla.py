"""`python examples/slrla.py`: SLRLA, Lookahead with a pull to its slow weights.

Lookahead takes k = 5 steps from the slow weights a and moves a half of the way to the
weights w reached. SLRLA adds a local regulariser beta ||w - a||^2 to the loss of these
steps. `proximal(strength, period)` adds strength ||w - a||^2 and takes the anchor where
Lookahead synchronises, before each 5th step: strength = beta = 0.2, period = k.

Compared with Lookahead alone. Each gets 24 learning rates; the mean validation accuracy
over the seeds 0-9 chooses, and the same runs are tested on the test images.

Zhou, Yan, Yuan, Feng, Yan, "Towards Understanding Why Lookahead Generalizes Better Than
SGD and Beyond", NeurIPS 2021 (not on arXiv); beta and k as in its published code.
"""

from functools import partial
from pathlib import Path

import digits
import jax
import numpy as np
import optax
import records
import report
import typer
from tuning import CHOSEN, best_records, choices, draw, grid, trial_records, tune

from prox_optax import proximal

HIDDEN, BATCH = 64, 8
TRAIN, HELD_OUT, TEST = digits.load(validation=300)
GRAPH = digits.graph(HIDDEN)
RATES = grid(rate=np.geomspace(0.001, 1, 24))


def lookahead(rate):
    return optax.lookahead(optax.sgd(rate, momentum=0.9), 5, 0.5)


def slrla(rate):
    inner = optax.chain(proximal(0.2, 5), optax.sgd(rate, momentum=0.9))
    return optax.lookahead(inner, 5, 0.5)


METHODS = {"Lookahead": lookahead, "SLRLA": slrla}


def learn(method, trial, start, batches):
    """Return the validation accuracy of the slow weights, and these weights."""
    optimizer = method(**trial)

    def loss(fast, rows):
        return digits.loss(GRAPH, fast, TRAIN.take(rows))

    def step(carry, rows):
        params, state = carry
        gradient = jax.grad(loss)(params.fast, rows)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = optax.LookaheadParams.init_synced(start)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), batches)
    return digits.accuracy(GRAPH, params.slow, HELD_OUT), params.slow


def largest_usable(tuned):
    rates, validation = tuned.profile("rate")
    return rates[validation > validation.max() - 0.05].max()


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, steps = (2, 5) if tiny else (10, 1000)
    keys = jax.random.split(jax.random.key(0), seeds)
    start = digits.initial(keys, HIDDEN)
    rng = np.random.default_rng(0)
    batches = rng.integers(len(TRAIN.labels), size=(seeds, steps, BATCH))
    tuned = {
        name: tune(partial(learn, method), RATES, start, batches)
        for name, method in METHODS.items()
    }
    test = jax.jit(jax.vmap(lambda params: digits.accuracy(GRAPH, params, TEST)))
    scores = {name: records.as_written(test(t.outcome)) for name, t in tuned.items()}

    title = f"Digits at batch {BATCH}, {steps} steps"
    table = report.comparison(title, "test accuracy (fraction)", scores)
    reach = ", ".join(f"{name} to {largest_usable(t):.3g}" for name, t in tuned.items())
    fact = report.verdict(scores, "SLRLA", "Lookahead")
    fact += f" Rates within 0.05 of the best validation accuracy: {reach}."
    text = f"{table}\n{choices(tuned)}\n{fact}\n"
    figure = draw(tuned, "rate", "learning rate (squared weight / loss)")
    raw = trial_records(CHOSEN, tuned) + best_records(title, tuned, scores)
    report.show("slrla", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
