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


def network(key):
    return digits.Network(HIDDEN, nnx.Rngs(key), classes=5)


GRAPH = nnx.graphdef(nnx.eval_shape(lambda: network(jax.random.key(0))))
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
    chosen = np.isin(images.labels, range(first, first + 5)).nonzero()
    return digits.Images(images.pixels[chosen], images.labels[chosen] - first)


(OLD, OLD_TEST), (NEW, NEW_TEST) = (
    [five(images, first) for images in digits.load()] for first in (0, 5)
)


@jax.jit
@jax.vmap
def initial(key):
    return nnx.state(network(key))


def accuracy(params, images):
    return digits.accuracy(nnx.merge(GRAPH, params)(images.pixels), images.labels)


def fit(optimizer, images, steps, params):
    """Parameters after full-batch training."""

    def loss(params, _):
        logits = nnx.merge(GRAPH, params)(images.pixels)
        return digits.cross_entropy(logits, images.labels)

    return train(loss, optimizer, params, optimizer.init(params), np.arange(steps))[0]


def finetune(method, steps, trial, order, start):
    few = digits.Images(*(x[order[:IMAGES]] for x in NEW))
    held_out = digits.Images(*(x[order[-VALIDATION:]] for x in NEW))
    params = fit(method(**trial), few, steps, start)
    return accuracy(params, held_out), params


@jax.jit
@jax.vmap
def test(params, before):
    """Accuracy on the new digits, and on the old ones with their old head."""
    old = nnx.State({"body": params["body"], "head": before["head"]})
    return accuracy(params, NEW_TEST), accuracy(old, OLD_TEST)


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune on validation images, compare once on the test images."""
    seeds, steps = (2, 3) if tiny else (10, 300)
    first, second = jax.random.split(jax.random.key(0), (2, seeds))
    pretrain = partial(fit, plain(0.1), OLD, steps)
    old = jax.jit(jax.vmap(pretrain))(initial(first))
    start = nnx.State({"body": old["body"], "head": initial(second)["head"]})
    rng = np.random.default_rng(0)
    orders = np.array([rng.permutation(len(NEW.labels)) for _ in first])
    tuned = {
        name: tune(partial(finetune, method, steps), trials, orders, start)
        for name, (method, trials) in METHODS.items()
    }
    tests = {name: np.asarray(test(t.outcome, old)) for name, t in tuned.items()}
    new, kept = ({name: pair[i] for name, pair in tests.items()} for i in (0, 1))

    measure = "test accuracy (fraction)"
    tables = [
        report.comparison(f"Digits 5-9 from {IMAGES} images", measure, new),
        report.comparison("Digits 0-4, with the old head", measure, kept),
    ]
    text = "\n".join([*tables, choices(tuned)]) + (
        f"\nOn the new digits {report.verdict(new, 'L2-SP', 'plain')} "
        f"{report.verdict(new, 'L2-SP', 'weight decay')} "
        f"On the old ones, {test(old, old)[1].mean():.4f} before, "
        f"{report.verdict(kept, 'L2-SP', 'plain')}\n"
    )
    figure = draw(tuned, "strength", "strength (loss / squared weight)")
    command = "python examples/finetune_l2sp.py" + " --tiny" * tiny
    report.show("finetune_l2sp", command, text, figure, out)


if __name__ == "__main__":
    typer.run(main)
