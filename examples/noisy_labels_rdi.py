"""`python examples/noisy_labels_rdi.py`: RDI, labels that are wrong, and an anchor.

Of the labels 40 % are another digit. RDI (regularisation by the distance to the
initialisation) adds lambda^2 / 2 ||w - w0||^2 to the sum of the losses over the n
training images, with w0 the parameters at the start. We take the mean of the losses, to
which `proximal(strength, period=None)` adds strength ||w - a||^2 with a = w0, so
strength = lambda^2 / (2 n).

Compared with plain SGD, with L2 (weight decay) and with both, all at batch 8. Each
method gets 16 trials; the mean accuracy over the seeds on validation labels, as noisy,
chooses. The labels of the test set are the true ones.

Hu, Li, Yu, "Simple and Effective Regularization Methods for Training on Noisily Labeled
Data with Generalization Guarantee", ICLR 2020, arXiv 1905.11368.
"""

from functools import partial
from pathlib import Path

import digits
import jax
import numpy as np
import optax
import report
import typer
from tuning import choices, draw, grid, train, tune

from prox_optax import proximal

HIDDEN, BATCH, VALIDATION, NOISE = 128, 8, 300, 0.4
IMAGES, _, TEST = digits.load()
GRAPH = digits.graph(HIDDEN)


def plain(rate):
    return optax.sgd(rate, momentum=0.9)


def weight_decay(rate, decay):
    return optax.chain(optax.add_decayed_weights(2 * decay), plain(rate))


def rdi(rate, pull):
    return optax.chain(proximal(pull, period=None), plain(rate))


def both(rate, decay, pull):
    return optax.chain(proximal(pull, period=None), weight_decay(rate, decay))


RATES, STRENGTHS = np.geomspace(0.001, 0.03, 4), np.geomspace(3e-4, 0.01, 4)
METHODS = {
    "plain": (plain, grid(rate=np.geomspace(0.0003, 0.03, 16))),
    "weight decay": (weight_decay, grid(rate=RATES, decay=STRENGTHS)),
    "RDI": (rdi, grid(rate=RATES, pull=STRENGTHS)),
    "both": (both, grid(rate=RATES, decay=STRENGTHS[:3:2], pull=STRENGTHS[:3:2])),
}


def learn(method, trial, params, labels, batches):
    """Accuracy on the noisy validation labels, and the parameters."""
    images = digits.Images(IMAGES.pixels, labels)
    held_out = images.take(slice(VALIDATION))

    def loss(params, rows):
        return digits.loss(GRAPH, params, images.take(VALIDATION + rows))

    optimizer = method(**trial)
    params, _ = train(loss, optimizer, params, optimizer.init(params), batches)
    return digits.accuracy(GRAPH, params, held_out), params


def shuffled(rng, epochs):
    """Rows of the batches, shape (steps, BATCH)."""
    n = len(IMAGES.labels) - VALIDATION
    rows = [rng.permutation(n)[: n - n % BATCH] for _ in range(epochs)]
    return np.reshape(rows, (-1, BATCH))


def noisy(rng):
    labels = np.asarray(IMAGES.labels)
    flipped = rng.random(len(labels)) < NOISE
    return np.where(flipped, (labels + rng.integers(1, 10, len(labels))) % 10, labels)


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, epochs = (2, 1) if tiny else (5, 20)
    rngs = [np.random.default_rng(seed) for seed in range(seeds)]
    labels = np.array([noisy(rng) for rng in rngs])
    batches = np.array([shuffled(rng, epochs) for rng in rngs])
    if tiny:
        batches = batches[:, :3]
    keys = jax.random.split(jax.random.key(0), seeds)
    start = digits.initial(keys, HIDDEN)
    tuned = {
        name: tune(partial(learn, method), trials, start, labels, batches)
        for name, (method, trials) in METHODS.items()
    }
    test = jax.jit(jax.vmap(lambda params: digits.accuracy(GRAPH, params, TEST)))
    scores = {name: np.asarray(test(t.outcome)) for name, t in tuned.items()}

    title = f"Digits with {NOISE:.0%} of the labels flipped, batch {BATCH}"
    table = report.comparison(title, "test accuracy, true labels (fraction)", scores)
    pairs = (("RDI", "plain"), ("RDI", "weight decay"), ("both", "weight decay"))
    facts = report.verdicts(scores, *pairs)
    largest = [f"{n} {t.profile('rate')[1][-1]:.4f}" for n, t in tuned.items()]
    facts += f" Validation accuracy at the rate {RATES[-1]:.3g}: {', '.join(largest)}."
    text = f"{table}\n{choices(tuned)}\n{facts}\n"
    figure = draw(tuned, "rate", "learning rate (squared weight / loss)")
    report.show("noisy_labels_rdi", text, figure, out, tiny)


if __name__ == "__main__":
    typer.run(main)
