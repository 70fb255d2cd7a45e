"""`python examples/finetune_l2sp.py`: L2-SP, fine-tuning pulled to the old weights.

A network pretrained on the digits 0-4 gets a new head and 25 images of the digits 5-9.
L2-SP adds alpha / 2 ||w - w0||^2 to the loss for the pretrained body w, which starts at
w0, and beta / 2 ||v||^2 for the new head v. `proximal(strength, period=None)` adds
strength ||w - a||^2 with a = w0, so strength = alpha / 2; the head has plain L2.

Compared with plain fine-tuning and with L2 on all parameters. Each method gets 24
trials; the mean validation accuracy over the seeds chooses.

Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with
Convolutional Networks", ICML 2018, arXiv 1802.01483.
"""

from functools import partial
from pathlib import Path

import digits
import jax
import numpy as np
import optax
import report
import typer
from flax import nnx
from tuning import choices, draw, grid, train, tune

from prox_optax import proximal

IMAGES, VALIDATION, HIDDEN = 25, 300, 64
GRAPH = digits.graph(HIDDEN, classes=5)
PARTS = nnx.State({"body": "body", "head": "head"})


def plain(rate):
    return optax.sgd(rate, momentum=0.9)


def weight_decay(rate, strength):
    return optax.chain(optax.add_decayed_weights(2 * strength), plain(rate))


def l2_sp(rate, strength, beta=0.01):
    pulled = proximal(strength, period=None)
    parts = {"body": pulled, "head": optax.add_decayed_weights(beta)}
    return optax.chain(optax.partition(parts, PARTS), plain(rate))


BOTH = grid(rate=np.geomspace(0.01, 1, 4), strength=np.geomspace(1e-5, 1, 6))
METHODS = {
    "plain": (plain, grid(rate=np.geomspace(0.01, 1, 24))),
    "weight decay": (weight_decay, BOTH),
    "L2-SP": (l2_sp, BOTH),
}


def five(images, first):
    """The images of five digits, their labels counted from 0."""
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


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, steps = (2, 3) if tiny else (10, 300)
    first, second = jax.random.split(jax.random.key(0), (2, seeds))
    pretrain = partial(fit, plain(0.1), OLD, steps)
    old = jax.jit(jax.vmap(pretrain))(digits.initial(first, HIDDEN, 5))
    head = digits.initial(second, HIDDEN, 5)["head"]
    start = nnx.State({"body": old["body"], "head": head})
    rng = np.random.default_rng(0)
    orders = np.array([rng.permutation(len(NEW.labels)) for _ in first])
    tuned = {
        name: tune(partial(finetune, method, steps), trials, orders, start)
        for name, (method, trials) in METHODS.items()
    }
    tests = {name: np.asarray(test(t.outcome, old)) for name, t in tuned.items()}
    new, kept = ({name: pair[i] for name, pair in tests.items()} for i in (0, 1))

    titles = f"Digits 5-9 from {IMAGES} images", "Digits 0-4, with the old head"
    tables = dict(zip(titles, (new, kept), strict=True))
    pairs = (("L2-SP", "plain"), ("L2-SP", "weight decay"))
    text = (
        f"{report.comparisons('test accuracy (fraction)', tables)}\n{choices(tuned)}\n"
        f"On the new digits {report.verdicts(new, *pairs)} "
        f"On the old ones, {test(old, old)[1].mean():.4f} before, "
        f"{report.verdict(kept, 'L2-SP', 'plain')}\n"
    )
    figure = draw(tuned, "strength", "strength (loss / squared weight)")
    report.show("finetune_l2sp", text, figure, out, tiny)


if __name__ == "__main__":
    typer.run(main)
