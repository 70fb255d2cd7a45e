"""`python examples/private_training.py`: differentially private SGD with an anchor.

Here the user sets the noise of the gradient: DP-SGD (Abadi et al., arXiv 1607.00133)
clips the gradient of each of B examples to the norm C and adds noise,

    g = (sum_i clip(grad_i, C) + sigma C N(0, 1)) / B

The pull (Zhang et al., IJCAI 2019) goes behind: `proximal` makes it g + 2 strength
(w - a), `decoupled_proximal` turns the step u into (u - r (w - a)) / (1 + r), with
r = 2 lambda_w. Parameters w and anchor a were made from private gradients only: the
pull is post-processing, and the privacy that of plain DP-SGD with the same sigma, batch
and number of steps (choosing the settings spends more, alike in every row). The
controls work on the same noise by other means: a tuned learning rate, inner decay
alone, and an exponential average of the parameters, tested in their place.
"""

from functools import partial
from itertools import product
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

from prox_optax import decoupled_proximal, inner_decay, proximal

BATCH, CLIP, PERIOD = 32, 1.0, 10
NOISES = (1.0, 2.0, 4.0)
RATES = np.geomspace(0.02, 4, 12).round(3)
# Set after one run, test tables seen, with rates twice as far apart.
FEWER = RATES[4:8]
OFF = {"strength": 0.0, "lambda_w": 0.0, "inner": 1, "part": 1.0}
GRIDS = {  # as many points for each method
    "plain": [{"rate": rate} for rate in RATES],
    "proximal": [
        {"rate": rate, "strength": r / 2 / rate}
        for rate, r in product(FEWER, (0.02, 0.06, 0.2))
    ],
    "decoupled_proximal": [
        {"rate": rate, "lambda_w": r / 2}
        for rate, r in product(FEWER, (0.02, 0.06, 0.2))
    ],
    "inner decay": [{"rate": 2 * rate, "inner": PERIOD} for rate in RATES],
    "average": [
        {"rate": rate, "part": part} for rate, part in product(FEWER, (0.01, 0.03, 0.1))
    ],
}


def optimizer(rate, strength, lambda_w, inner, noise, key):
    """Only private gradients reach the pull; what is 0 changes nothing."""
    return optax.chain(
        optax.contrib.differentially_private_aggregate(CLIP, noise, key),
        proximal(strength, PERIOD),
        optax.sgd(inner_decay(rate, inner)),
        decoupled_proximal(lambda_w, PERIOD),
    )


def train(steps, images, part, seed, **settings):
    """Accuracy on the validation and test images, of an average of the parameters."""
    data, *held_out = images
    init_key, noise_key, key = jax.random.split(jax.random.key(seed), 3)
    graph, params = nnx.split(digits.Network(16, nnx.Rngs(init_key)))
    tx = optimizer(**settings, key=noise_key)

    def loss(params, pixels, label):
        logits = nnx.merge(graph, params)(pixels[None])
        return digits.cross_entropy(logits, label[None])

    def step(carry, t):
        params, state, average = carry
        key_t = jax.random.fold_in(key, t)
        i = jax.random.randint(key_t, (BATCH,), 0, len(data.labels))
        one_by_one = jax.vmap(jax.grad(loss), (None, 0, 0))
        grads = one_by_one(params, data.pixels[i], data.labels[i])
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        average = optax.incremental_update(params, average, part)
        return (params, state, average), None

    carry = params, tx.init(params), params
    average = jax.lax.scan(step, carry, jnp.arange(steps))[0][2]
    network = nnx.merge(graph, average)
    return [digits.accuracy(network(x.pixels), x.labels) for x in held_out]


@partial(jax.jit, static_argnums=0)
def train_lanes(steps, images, lanes):
    return jax.vmap(lambda lane: train(steps, images, **lane))(lanes)


def accuracies(steps, images, points, noise, seeds):
    """Validation and test accuracy, each of shape (methods, points of each, seeds)."""
    lanes = [
        {**OFF, **point, "noise": noise, "seed": seed}
        for point, seed in product(points, seeds)
    ]
    lanes = {name: jnp.array([lane[name] for lane in lanes]) for name in lanes[0]}
    for values in train_lanes(steps, images, lanes):
        yield np.asarray(values).reshape(len(GRIDS), -1, len(seeds))


def plot(results):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, method in enumerate(GRIDS):
        values = np.array([rows[i] for rows in results])
        error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
        x = np.array(NOISES) * 1.02**i
        axes.errorbar(x, values.mean(axis=1), error, None, "o-", label=method)
    axes.set_xscale("log", base=2)
    axes.set_xticks(NOISES, NOISES)
    axes.set_xlabel("noise multiplier sigma (standard deviation / clipping norm)")
    axes.set_ylabel("test accuracy / fraction (mean +- standard error)")
    axes.legend()
    return figure


def verdicts(tested):
    """What each method's difference to plain says."""
    plain, *others = tested
    for method, values in zip(list(GRIDS)[1:], others, strict=True):
        _, low, high = report.paired_difference(values, plain)
        told_apart = "better" if low > 0 else "worse"
        yield f"{method} {'not told apart' if low <= 0 <= high else told_apart}"


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune every method at each noise on a validation split, then test it."""
    steps, n = (5, 1) if tiny else (300, 4)
    train_set, test = digits.load(seed=2)  # the settings were found on other splits
    validation = digits.Images(*(x[:360] for x in train_set))
    images = digits.Images(*(x[360:] for x in train_set)), validation, test
    points = [point for grid in GRIDS.values() for point in grid]
    fresh = range(300, 300 + n * len(RATES))  # as many lanes: compiled once
    results, texts, facts = [], [], []
    for noise in NOISES:
        tuned, _ = accuracies(steps, images, points, noise, range(20, 20 + n))
        choice = tuned.mean(axis=2).argmax(axis=1)
        best = [grid[i] for grid, i in zip(GRIDS.values(), choice, strict=True)]
        _, tested = accuracies(steps, images, best, noise, fresh)
        results.append(tested[:, 0])
        rows = {
            f"{method}, {', '.join(f'{k} {v:.2g}' for k, v in point.items())}": values
            for method, point, values in zip(GRIDS, best, results[-1], strict=True)
        }
        texts.append(report.comparison(f"sigma {noise:g}", "test accuracy", rows))
        facts.append(f"sigma {noise:g}: {', '.join(verdicts(results[-1]))}")
    texts.append(
        f"{steps} steps of batch {BATCH}; {len(RATES)} points for each method, chosen "
        f"on {n} seeds in validation; rows of a table have the same privacy, and the "
        "intervals are not corrected for their number. Against plain at its own best "
        f"rate: {'; '.join(facts)}.\n"
    )
    command = "python examples/private_training.py"
    report.show("private_training", command, "\n".join(texts), plot(results), out)


if __name__ == "__main__":
    typer.run(main)
