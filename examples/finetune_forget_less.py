"""`python examples/finetune_forget_less.py`: learn new data, forget less of the old.

A network has learned to read digits. It is to read them turned by a quarter, and the
upright ones may not be kept. Plain fine-tuning forgets them. The four lines that matter
are marked below: the Fisher information of the old digits, taken while they are there,
weights a pull towards the old weights.

Drawn is what is kept against what is learned. A lower learning rate alone is the
control: it forgets less too, and learns less. Every setting is shown, none is chosen;
each point is the mean over seeds of networks, batches and drawn labels.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
arXiv 1612.00796.
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
from matplotlib.figure import Figure
from tuning import train

from prox_optax import decoupled_proximal, fisher_diagonal

HIDDEN, BATCH, RATE = 64, 32, 3e-3
TRAIN, _, TEST = digits.load()
GRAPH = digits.graph(HIDDEN)
TABLES = "Kept", "Learned"


def turned(images):
    """Turn the images by a quarter."""
    grid = images.pixels.reshape(-1, 8, 8)
    return images._replace(pixels=jnp.rot90(grid, axes=(1, 2)).reshape(-1, 64))


NEW, NEW_TEST = turned(TRAIN), turned(TEST)


def fit(tx, params, images, steps, key):
    """Return the parameters after training from `params`, where the anchor is."""

    def loss(params, rows):
        return digits.loss(GRAPH, params, images.take(rows))

    rows = jax.random.randint(key, (steps, BATCH), 0, len(images.labels))
    return train(loss, tx, params, tx.init(params), rows)[0]


def learn_old(steps, key):
    """Train on the upright digits; return the weights and their Fisher information."""
    keys = jax.random.split(key, 3)
    model = digits.Network(HIDDEN, nnx.Rngs(keys[0]))
    params = fit(optax.adam(RATE), nnx.state(model), TRAIN, steps, keys[1])
    examples = TRAIN.pixels, jax.random.split(keys[2], len(TRAIN.labels))
    fisher = fisher_diagonal(
        partial(digits.surprise, GRAPH), params, examples
    )  # 1, with the old data
    return params, fisher


def a_lower_rate(size, fisher):
    return optax.adam(size * RATE)


def to_the_old_weights(size, fisher):
    pull = decoupled_proximal(size, period=None, learning_rate=RATE)
    return optax.chain(optax.adam(RATE), pull)


def weighted(size, fisher):
    strength = jax.tree.map(lambda f: size * f, fisher)  # 2, lambda / 2 times F
    pull = decoupled_proximal(strength, period=None, learning_rate=RATE)  # 3
    return optax.chain(optax.adam(RATE), pull)  # 4, init takes the anchor


METHODS = {
    "a lower rate alone": (a_lower_rate, np.geomspace(0.003, 1, 8)),
    "a plain pull": (to_the_old_weights, np.geomspace(0.03, 100, 8)),
    "a pull weighted by Fisher": (weighted, np.geomspace(1, 30_000, 8)),
}


def learn_new(method, steps, size, key, params, fisher):
    """Return what is kept and what is learned: test accuracies."""
    params = fit(method(size, fisher), params, NEW, steps, key)
    return jnp.array([digits.accuracy(GRAPH, params, x) for x in (TEST, NEW_TEST)])


def tabulate(found):
    """Write a row for each setting: what is kept and what is learned."""
    lines = ["| method | size | kept | learned |", "| --- | --- | --- | --- |"]
    for name, scores in found.items():
        for size, pair in zip(METHODS[name][1], scores, strict=True):
            means, halves = pair.mean(axis=0), report.half_width(pair)
            cells = map("{:.3f} +- {:.3f}".format, means, halves)
            lines.append(f"| {name} | {size:.3g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(found, before):
    """Draw what is kept against what is learned, a curve a method."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="learned: test accuracy on the turned digits",
        ylabel="kept: test accuracy on the upright digits",
        title="Mean and standard error over seeds, each point a setting",
    )
    for name, look in report.looks(found).items():
        kept, learned = found[name].mean(axis=1).T
        high, wide = found[name].std(axis=1, ddof=1).T / np.sqrt(found[name].shape[1])
        axes.errorbar(learned, kept, high, wide, label=name, **look)
    axes.axhline(before, color="gray", linestyle=":", label="before")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.92))  # between the curves
    return figure


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Fine-tune at every setting; print and draw what is kept and what is learned."""
    seeds, steps = (2, 3) if tiny else (10, 400)
    first, second = jax.random.split(jax.random.key(0), (2, seeds))
    old = jax.jit(jax.vmap(partial(learn_old, steps)))(first)
    before = np.asarray(jax.vmap(lambda w: digits.accuracy(GRAPH, w, TEST))(old[0]))
    found: dict[str, np.ndarray] = {}
    raw: list[records.Record] = []
    for name, (method, sizes) in METHODS.items():
        run = partial(learn_new, method, steps)
        over_seeds = jax.vmap(run, (None, 0, 0, 0))
        over_sizes = jax.jit(jax.vmap(over_seeds, (0, None, None, None)))
        scores = over_sizes(jnp.asarray(sizes, jnp.float32), second, *old)
        found[name] = records.as_written(scores)
        for table, x in zip(TABLES, np.moveaxis(found[name], 2, 0), strict=True):
            raw += records.of_trials(table, "test", name, {"size": sizes}, x)
    text = (
        f"Upright digits before: {before.mean():.3f}. Size: of the lower rate its "
        "factor, of the plain pull its strength, of the weighted one lambda / 2.\n\n"
        f"Test accuracy (fraction), mean +- half of the 95 % interval (n={seeds}):\n\n"
        f"{tabulate(found)}"
    )
    report.show(
        "finetune_forget_less", text, draw(found, before.mean()), raw, out, tiny
    )


if __name__ == "__main__":
    typer.run(main)
