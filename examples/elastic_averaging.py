"""python examples/elastic_averaging.py

EASGD: p workers, one a device, each go down their own gradients. Every tau steps, at t
= 0, tau, ..., they are pulled to a shared centre c, and it moves towards their mean:

    x_i <- x_i - eta g_i - alpha (x_i - c),   c <- c + beta (mean(x) - c)

with alpha = beta / p and all on the right at time t (equations 5 and 6). c is the
anchor: `proximal` of strength alpha / (2 eta) before SGD, `set_anchor` once all have
stepped. `decoupled_proximal` of lambda_w = alpha / (1 - alpha) / 2 behind SGD at the
learning rate eta / (1 - alpha) is the same; at eta itself it shortens the gradient too.
Both choose among 10 learning rates on the seeds 0-2 in validation and are compared on
the seeds 100-129, paired.
Zhang, Choromanska, LeCun, "Deep Learning with Elastic Averaging SGD", arXiv 1412.6651.
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
from jax.sharding import AxisType, PartitionSpec
from tuning import (
    CHOSEN,
    best_records,
    choices,
    grid,
    train,
    trial_records,
    tune_then_test,
)

from prox_optax import get_anchor, proximal, set_anchor

WORKERS, BATCH, TAU, BETA = 8, 8, 10, 0.9  # beta is the paper's
FRESH = 100  # the first seed of the test
LAST, MEASURE = 10, "test accuracy"  # a score is the mean of the last rounds
RATES = np.geomspace(0.1, 3.0, 10)  # each method chooses among these
mean = partial(jax.lax.pmean, axis_name="worker")
varying = partial(jax.lax.pcast, axis_name="worker", to="varying")


def elastic(loss, score, params, rate, batches):
    """Score the centre after each round; batches of shape (rounds, tau, ...)."""
    alpha, tau = BETA / WORKERS, batches.shape[1]

    def strength(t):
        return jnp.where(t % tau == 0, alpha / (2 * rate), 0.0)

    optimizer = optax.chain(proximal(strength, period=None), optax.sgd(rate))

    def a_round(carry, batches):
        params, state = carry
        centre, average = get_anchor(state, params), mean(params)
        params, state = train(loss, optimizer, params, state, batches)
        centre = jax.tree.map(lambda c, x: c + BETA * (x - c), centre, average)
        return (params, set_anchor(state, centre)), score(centre)

    return jax.lax.scan(a_round, (params, optimizer.init(params)), batches)[1]


def averaged(loss, score, params, rate, batches):
    """Score, after each round, the average that all take over."""
    optimizer = optax.sgd(rate)

    def a_round(params, batches):
        params, _ = train(loss, optimizer, params, optimizer.init(params), batches)
        params = varying(mean(params))
        return params, score(params)

    return jax.lax.scan(a_round, params, batches)[1]


METHODS = {"average": averaged, "EASGD": elastic}


def worker(method, rounds, images, held_out, rate, seed):
    """Accuracy on `held_out` after each round; to be run by all workers."""
    key = jax.random.key(seed)
    graph, params = nnx.split(digits.Network(32, nnx.Rngs(key)))
    key = jax.random.fold_in(key, jax.lax.axis_index("worker"))
    batches = jax.random.randint(key, (rounds, TAU, BATCH), 0, len(images.labels))

    def loss(params, rows):
        return digits.loss(graph, params, images.take(rows))

    score = partial(digits.accuracy, graph, images=held_out)
    return mean(method(loss, score, varying(params), rate, batches))


def tuned(name, images, validation, test, rounds, rates, seeds):
    """Tune the learning rate of a method; a lane is a learning rate and a seed."""
    mesh = jax.make_mesh((WORKERS,), ("worker",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec()  # all workers return the same
    lanes = jax.vmap(partial(worker, METHODS[name], rounds, images), (None, 0, 0))
    run = jax.jit(jax.shard_map(lanes, mesh=mesh, in_specs=spec, out_specs=spec))
    return tune_then_test(
        lambda rate, seed: run(validation, rate, seed)[:, -LAST:],
        lambda rate, seed: run(test, rate, seed),
        {name: grid(rate=rates)},
        range(seeds),
        FRESH,
    )[name]


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune each method on validation images, test it on as many fresh seeds."""
    rounds, rates, seeds = (2, RATES[:2], 1) if tiny else (100, RATES, 3)
    data = digits.load(validation=360)
    best = {name: tuned(name, *data, rounds, rates, seeds) for name in METHODS}
    curves = {name: np.asarray(t.outcome, float) for name, t in best.items()}
    scores = {
        name: records.as_written(x[:, -LAST:].mean(axis=1))
        for name, x in curves.items()
    }
    title = f"{WORKERS} workers, every {TAU} steps"
    change = best["EASGD"].validation.max() - best["average"].validation.max()
    text = (
        f"{report.comparison(title, MEASURE, scores)}\n{choices(best)}\n"
        f"Scores are means over the last {LAST} rounds, of the centre or the average; "
        f"chosen on the seeds 0 to {seeds - 1}, compared on those from {FRESH}.\n"
        f"\nTo take away: {report.verdict(scores, 'EASGD', 'average')} That is on the "
        f"test images; the difference on the validation images is {change:+.4f}.\n"
    )
    figure = report.draw(TAU * (1 + np.arange(rounds)), {"": curves}, "step", MEASURE)
    figure.axes[0].set_ylim(0.9, 1.0)  # where they differ
    raw = trial_records(CHOSEN, best) + best_records(title, best, scores, FRESH)
    report.show("elastic_averaging", text, figure, raw, out, tiny)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", WORKERS)
    typer.run(main)
