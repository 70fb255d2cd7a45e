"""`python examples/smaller_anchor.py`: what do 16 bits of an anchor cost?

SGD with momentum and Adam, each with a decoupled pull (0.1, every 10 steps) from four
anchors: float32; rounded to bfloat16; rounded to bfloat16 up or down at random, on
average right; and `anchor_dtype="int16"`. Over all steps the displacement d that the
pull takes is compared with w - a, of the float32 anchor a:

    error = sum ||d - (w - a)|| / sum ||w - a||
    bias = ||sum (d - (w - a))|| / sum ||w - a||, small where errors do not repeat

The seeds 0-4 train with every anchor at every rate: nothing is tuned. `--data
fashion-mnist` takes Fashion-MNIST and a convolutional network.
"""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
import typer
from flax import nnx
from tuning import over_lanes, side_by_side

from prox_optax import decoupled_proximal, proximal, set_anchor

BATCH, PERIOD, RATES = 8, 10, (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BASES: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
}
RANDOM = "bfloat16, random"
ANCHORS = {
    "float32": None,
    "bfloat16": "bfloat16",
    RANDOM: "bfloat16",
    "int16": "int16",
}
MEASURES = "test accuracy", "error", "bias"
HEADER = """\
| base, rate, anchor | test accuracy | minus float32 (95 %) | error | bias |
| --- | --- | --- | --- | --- |
"""


def task(data, folder):
    """Return the network, images to train on and images to test with."""
    if data == "digits":
        return partial(digits.Network, 64), *digits.load()[::2]
    import fashion_mnist

    return fashion_mnist.Network, *fashion_mnist.load(folder)[::2]


def rounded_at_random(params, key):
    """To one of the two nearest numbers of bfloat16, on average to the parameter."""

    def round_leaf(w, key):
        bits = jax.lax.bitcast_convert_type(w, jnp.uint32)
        bits += jax.random.bits(key, w.shape, jnp.uint32) >> 16
        return jax.lax.bitcast_convert_type(bits >> 16 << 16, jnp.float32)

    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, map(round_leaf, leaves, keys))


def train(network, base, anchor, steps, images, rate, seed):
    """Test accuracy, error and bias."""
    training, test = images
    init_key, key = jax.random.split(jax.random.key(seed))
    graph, params = nnx.split(network(rngs=nnx.Rngs(init_key)))
    optimizer = BASES[base](rate)
    pull = decoupled_proximal(0.1, PERIOD, anchor_dtype=ANCHORS[anchor])
    reader = proximal(0.5, PERIOD, anchor_dtype=ANCHORS[anchor])  # adds w - a

    def take(_, state, params, key):
        if anchor == RANDOM:
            state = set_anchor(state, rounded_at_random(params, key))
        return params, state

    def step(carry, t):
        params, state, *kept, total, sizes = carry
        batch_key, round_key = jax.random.split(jax.random.fold_in(key, t))
        rows = jax.random.randint(batch_key, (BATCH,), 0, len(training.labels))
        grads = jax.grad(partial(digits.loss, graph))(params, training.take(rows))
        due, kept = t % PERIOD == 0, (*kept, params, round_key)
        exact, anchored = jax.lax.cond(due, take, lambda *x: x[:2], *kept)
        d, _ = reader.update(optax.tree.zeros_like(params), anchored, params)
        away = optax.tree.sub(params, exact)
        wrong = optax.tree.sub(d, away)
        sizes += jnp.stack([optax.tree.norm(wrong), optax.tree.norm(away)])
        u, state = optimizer.update(grads, state, params)
        u, anchored = pull.update(u, anchored, params)
        params, total = optax.apply_updates(params, u), optax.tree.add(total, wrong)
        return (params, state, exact, anchored, total, sizes), None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the rounding that is measured here
        kept = params, pull.init(params)
    zeros = optax.tree.zeros_like(params), jnp.zeros(2)
    start = params, optimizer.init(params), *kept, *zeros
    (params, *_, total, (wrong, away)), _ = jax.lax.scan(step, start, jnp.arange(steps))
    accuracy = digits.accuracy(graph, params, test)
    return accuracy, wrong / away, optax.tree.norm(total) / away


def rows(found):
    """Of the table, for each base, anchor and rate."""
    for (base, anchor), measured in found.items():
        columns = RATES, found[base, "float32"][0], *measured
        for rate, whole, accuracy, error, bias in zip(*columns, strict=True):
            half = report.half_width(accuracy)
            mean, low, high = report.paired_difference(accuracy, whole)
            yield (
                f"| {base}, {rate:g}, {anchor} | {accuracy.mean():.4f} +- {half:.4f} "
                f"| {mean:+.4f} ({low:+.4f} to {high:+.4f}) "
                f"| {error.mean():.1e} | {bias.mean():.1e} |\n"
            )


def main(
    tiny: bool = False,
    out: Path = Path("results/examples"),
    data: Literal["digits", "fashion-mnist"] = "digits",
    data_dir: Path | None = None,
) -> None:
    """Train with each anchor, base and rate."""
    steps, n, bases = (20, 2, ("sgd",)) if tiny else (2000, 5, BASES)
    network, *images = task(data, data_dir)
    points, found = [{"rate": rate} for rate in RATES], {}
    for base, anchor in product(bases, ANCHORS):
        run = over_lanes(partial(train, network, base, anchor, steps))
        measured = side_by_side(partial(run, images), points, range(n))
        found[base, anchor] = [records.as_written(x) for x in measured]

    text = (
        f"{data}, {steps} steps of batch {BATCH}, {n} seeds, "
        "+- half of the 95 % interval\n\n"
    )
    panels = {b: {a: found[b, a][1].T for a in list(ANCHORS)[1:]} for b in bases}
    figure = report.draw(RATES, panels, "learning rate", "error of w - a (relative)")
    for axes in figure.axes:
        axes.set(xscale="log", yscale="log")
    text += HEADER + "".join(rows(found))
    raw = [
        row
        for (base, anchor), of_measures in found.items()
        for name, x in zip(MEASURES, of_measures, strict=True)
        for row in records.of_trials(
            name, "test", f"{base}, {anchor}", {"rate": np.array(RATES)}, x
        )
    ]
    report.show("smaller_anchor", text, figure, raw, out, tiny, data)


if __name__ == "__main__":
    typer.run(main)
