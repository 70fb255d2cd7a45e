"""`python examples/noisy_labels_rdi.py`: RDI, labels that are wrong, and an anchor.

Of the labels 40 % are another digit. RDI (regularisation by the distance to the
initialisation) adds lambda^2 / 2 ||w - w0||^2 to the sum of the losses over the n
training images, with w0 the parameters at the start. We take the mean of the losses, to
which `proximal(strength, period=None)` adds strength ||w - a||^2 with a = w0, so
strength = lambda^2 / (2 n).

Compared with plain SGD, with L2 (weight decay) and with both, all at batch 8. Each
method gets 24 trials, strength 0 among them; the mean accuracy on validation labels, as
noisy, over the seeds 0-7 chooses. The best is trained on the seeds 200-231, other
networks and other wrong labels, and tested on the true labels of the test set.

Written down before the run: the primary contrast is RDI minus plain SGD, paired by
seed; weight decay and both are further peers. No significant difference was expected.
On the seeds 100-131 RDI was below both, with 4 rates to the 24 of plain SGD. So what
has two numbers got every second point of 8 rates and 6 strengths, and all were tested
on other seeds. There RDI and plain SGD show no significant difference.

Hu, Li, Yu, "Simple and Effective Regularization Methods for Training on Noisily Labeled
Data with Generalization Guarantee", ICLR 2020, arXiv 1905.11368.
"""

from functools import partial
from pathlib import Path

import contrasts
import digits
import jax
import numpy as np
import optax
import records
import report
import typer
from tuning import (
    CHOSEN,
    again,
    best_records,
    choices,
    draw,
    grid,
    half_grid,
    train,
    trial_records,
    tune,
)

from prox_optax import proximal

HIDDEN, BATCH, VALIDATION, NOISE = 128, 8, 300, 0.4
FRESH, MEASURE = 200, "test accuracy, true labels (fraction)"  # the first test seed
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


RATES = np.geomspace(0.001, 0.03, 8).round(5)
STRENGTHS = (0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
METHODS = {
    "plain": (plain, grid(rate=np.geomspace(0.0003, 0.03, 24))),
    "weight decay": (weight_decay, half_grid(rate=RATES, decay=STRENGTHS)),
    "RDI": (rdi, half_grid(rate=RATES, pull=STRENGTHS)),
    "both": (
        both,
        half_grid(rate=RATES[1::2], decay=(0, 3e-4, 3e-3), pull=(0, 1e-3, 3e-3, 1e-2)),
    ),
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


def begin(seeds, epochs):
    """Parameters at the start, noisy labels and batches of each seed."""
    keys = jax.vmap(jax.random.key)(np.array(seeds))
    rngs = [np.random.default_rng(seed) for seed in seeds]
    labels = np.array([noisy(rng) for rng in rngs])
    batches = np.array([shuffled(rng, epochs) for rng in rngs])
    return digits.initial(keys, HIDDEN), labels, batches


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    n, fresh, epochs, steps = (2, 2, 1, 3) if tiny else (8, 32, 20, None)
    runs = {name: partial(learn, x) for name, (x, _) in METHODS.items()}
    start, labels, batches = begin(range(n), epochs)
    given = start, labels, batches[:, :steps]
    tuned = {name: tune(runs[name], x, *given) for name, (_, x) in METHODS.items()}
    start, labels, batches = begin(range(FRESH, FRESH + fresh), epochs)
    given = start, labels, batches[:, :steps]
    test = jax.jit(jax.vmap(lambda params: digits.accuracy(GRAPH, params, TEST)))
    scores = {
        name: records.as_written(test(again(runs[name], t, *given)))
        for name, t in tuned.items()
    }

    title = f"Digits with {NOISE:.0%} of the labels flipped, batch {BATCH}"
    pairs = ("RDI", "plain"), ("RDI", "weight decay"), ("both", "weight decay")
    largest = [f"{k} {t.profile('rate')[1][-1]:.4f}" for k, t in tuned.items()]
    text = (
        f"{contrasts.study(title, MEASURE, scores, 'RDI')}\n{choices(tuned)}\n"
        f"{report.verdicts(scores, *pairs)} Validation accuracy at the rate "
        f"{RATES[-1]:.3g}: {', '.join(largest)}.\n"
    )
    raw = trial_records(CHOSEN, tuned) + best_records(title, tuned, scores, FRESH)
    figure = draw(tuned, "rate", "learning rate (squared weight / loss)")
    report.show("noisy_labels_rdi", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
