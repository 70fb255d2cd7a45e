"""`python examples/finetune_l2sp.py`: L2-SP, fine-tuning pulled to the old weights.

A network pretrained on the digits 0-4 gets a new head and 25 images of the digits 5-9.
L2-SP adds alpha / 2 ||w - w0||^2 to the loss for the pretrained body w, which starts at
w0, and beta / 2 ||v||^2 for the new head v. `proximal(strength, period=None)` adds
strength ||w - a||^2 with a = w0, so strength = alpha / 2; the head has plain L2.

Compared with plain fine-tuning, with L2 on all parameters and with L2 on the head
alone, which is L2-SP at strength 0 (beta = 0.01 in both). Each method gets 24 trials;
the mean validation accuracy over the seeds 0-9 chooses, strength 0 among the trials,
and the best is tested on the seeds 300-339: other networks, heads and images.

Written down before the first run: the primary contrast is L2-SP minus plain fine-tuning
on the new digits, paired by seed, and no significant difference is expected from 25
images, but less forgetting of the old digits. On the seeds 100-139 L2-SP was above
plain fine-tuning at a strength near 0, and forgot more. So L2 on the head alone was
added; on the seeds 200-239 it was best, at a rate above the 4 of L2-SP. So what has two
numbers got every second point of 8 rates and 6 strengths, and all were tested on other
seeds. There L2-SP and plain fine-tuning show no significant difference.

Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks", ICML 2018, arXiv 1802.01483.
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
from flax import nnx
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

IMAGES, VALIDATION, HIDDEN = 25, 300, 64
BEFORE = "Digits 0-4 before"
FRESH, MEASURE = 300, "test accuracy (fraction)"  # the first seed of the test
GRAPH = digits.graph(HIDDEN, classes=5)
PARTS = nnx.State({"body": "body", "head": "head"})


def plain(rate):
    return optax.sgd(rate, momentum=0.9)


def weight_decay(rate, strength):
    return optax.chain(optax.add_decayed_weights(2 * strength), plain(rate))


def l2_sp(rate, strength, beta=0.01):
    body = proximal(strength, period=None)
    head = optax.add_decayed_weights(beta)
    parts = optax.partition({"body": body, "head": head}, PARTS)
    return optax.chain(parts, plain(rate))


RATES = np.geomspace(0.02, 2, 8).round(3)
BOTH = half_grid(rate=RATES, strength=(0, 1e-4, 1e-3, 1e-2, 0.1, 1))
METHODS = {
    "plain": (plain, grid(rate=np.geomspace(0.01, 1, 24))),
    "weight decay": (weight_decay, BOTH),
    "L2 on the head": (l2_sp, grid(rate=np.geomspace(0.01, 1, 24), strength=[0])),
    "L2-SP": (l2_sp, BOTH),
}


def five(images, first):
    """Select the images of five digits, their labels counted from 0."""
    chosen = images.take(np.isin(images.labels, range(first, first + 5)).nonzero())
    return digits.Images(chosen.pixels, chosen.labels - first)


TRAIN, _, TEST = digits.load()
OLD, OLD_TEST = five(TRAIN, 0), five(TEST, 0)
NEW, NEW_TEST = five(TRAIN, 5), five(TEST, 5)


def fit(optimizer, images, steps, params):
    """Parameters after full-batch training."""

    def loss(params, _):
        return digits.loss(GRAPH, params, images)

    return train(loss, optimizer, params, optimizer.init(params), np.arange(steps))[0]


def finetune(method, steps, trial, order, start):
    params = fit(method(**trial), NEW.take(order[:IMAGES]), steps, start)
    return digits.accuracy(GRAPH, params, NEW.take(order[-VALIDATION:])), params


@jax.jit
@jax.vmap
def test(params, before):
    """Accuracy on the new digits, and on the old ones with their old head."""
    old = nnx.State({"body": params["body"], "head": before["head"]})
    new = digits.accuracy(GRAPH, params, NEW_TEST)
    return new, digits.accuracy(GRAPH, old, OLD_TEST)


def begin(steps, seeds):
    """Which images, the pretrained body with a new head, the pretrained network."""
    keys = jax.vmap(jax.random.key)(np.array(seeds))
    first, second = jax.vmap(jax.random.split, out_axes=1)(keys)
    pretrain = partial(fit, plain(0.1), OLD, steps)
    old = jax.jit(jax.vmap(pretrain))(digits.initial(first, HIDDEN, 5))
    head = digits.initial(second, HIDDEN, 5)["head"]
    n = len(NEW.labels)
    orders = np.array([np.random.default_rng(seed).permutation(n) for seed in seeds])
    return orders, nnx.State({"body": old["body"], "head": head}), old


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    n, fresh, steps = (2, 2, 3) if tiny else (10, 40, 300)
    runs = {name: partial(finetune, x, steps) for name, (x, _) in METHODS.items()}
    *given, _ = begin(steps, range(n))
    tuned = {name: tune(runs[name], x, *given) for name, (_, x) in METHODS.items()}
    *given, old = begin(steps, range(FRESH, FRESH + fresh))
    tests = {name: test(again(runs[name], t, *given), old) for name, t in tuned.items()}
    titles = f"Digits 5-9 from {IMAGES} images", "Digits 0-4, with the old head"
    tables = {
        title: {name: records.as_written(pair[i]) for name, pair in tests.items()}
        for i, title in enumerate(titles)
    }
    raw, text = trial_records(CHOSEN, tuned), ""
    for title, scores in tables.items():
        raw += best_records(title, tuned, scores, FRESH)
        text += f"{contrasts.study(title, MEASURE, scores, 'L2-SP')}\n"
    new, kept = tables.values()
    before = records.as_written(test(old, old)[1])
    raw += records.of_trials(BEFORE, "test", "pretrained", {}, before[None], FRESH)
    pairs = [("L2-SP", name) for name in METHODS if name != "L2-SP"]
    text += (
        f"{choices(tuned)}\nOn the new digits: {report.verdicts(new, *pairs)} On the "
        f"old ones, {before.mean():.4f} before: "
        f"{report.verdicts(kept, *pairs)}\n"
    )
    figure = draw(tuned, "strength", "strength (loss / squared weight)")
    report.show("finetune_l2sp", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
