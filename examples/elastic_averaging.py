"""python examples/elastic_averaging.py

EASGD: p workers, one a device, each go down their own gradients. Every tau steps, at t
= 0, tau, ..., they are pulled to a shared centre c, and it moves towards their mean:

    x_i <- x_i - eta g_i - alpha (x_i - c),   c <- c + beta (mean(x) - c)

with alpha = beta / p and all on the right at time t (equations 5 and 6). c is the
anchor: `proximal` of strength alpha / (2 eta) before SGD, `set_anchor` once all have
stepped. `decoupled_proximal` of lambda_w = alpha / (1 - alpha) / 2 behind SGD at the
learning rate eta / (1 - alpha) is the same; at eta itself it shortens the gradient too.
Zhang, Choromanska, LeCun, "Deep Learning with Elastic Averaging SGD", arXiv 1412.6651.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
import typer
from digits import Images, Network, accuracy, cross_entropy, load
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from matplotlib.figure import Figure

from prox_optax import proximal, set_anchor

WORKERS, BATCH, TAU, ROUNDS = 8, 8, 10, 100
BETA = 0.9  # the paper's
LAST = 10  # rounds of TAU steps that a score is the mean of
RATES = np.geomspace(0.1, 3.0, 10)  # each method chooses among these
METHODS = {  # steps between two averages; None is EASGD, the anchored one
    f"average every {TAU} steps": TAU,
    "average every step": 1,
    "independent workers": TAU * ROUNDS + 1,
    f"EASGD every {TAU} steps": None,
}
mean = partial(jax.lax.pmean, axis_name="worker")


def descent(optimizer, gradient):
    def step(carry, batch):
        params, state = carry
        updates, state = optimizer.update(gradient(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    return step


def elastic(gradient, score, params, rate, batches):
    """The centre's score after each round; batches of shape (rounds, tau, ...)."""
    alpha, tau = BETA / WORKERS, batches.shape[1]

    def strength(t):
        return jnp.where(t % tau == 0, alpha / (2 * rate), 0.0)

    optimizer = optax.chain(proximal(strength, period=None), optax.sgd(rate))
    step = descent(optimizer, gradient)

    def a_round(carry, batches):
        centre, average = optax.tree.get(carry[1], "anchor"), mean(carry[0])
        (params, state), _ = jax.lax.scan(step, carry, batches)
        centre = jax.tree.map(lambda c, x: c + BETA * (x - c), centre, average)
        return (params, set_anchor(state, centre)), score(centre)

    return jax.lax.scan(a_round, (params, optimizer.init(params)), batches)[1]


def averaged(every, gradient, score, params, rate, batches):
    """The average's score after each round; taken over by all after `every` steps."""
    optimizer = optax.sgd(rate)
    step = descent(optimizer, gradient)

    def meeting_step(carry, batch):
        t, carry = carry
        (params, state), _ = step(carry, batch)
        meet = partial(jnp.where, (t + 1) % every == 0)
        return (t + 1, (jax.tree.map(meet, mean(params), params), state)), None

    def a_round(carry, batches):
        carry, _ = jax.lax.scan(meeting_step, carry, batches)
        return carry, score(mean(carry[1][0]))

    carry = 0, (params, optimizer.init(params))
    return jax.lax.scan(a_round, carry, batches)[1]


def training(train, held_out, every, rounds, rate, seed):
    """Accuracy on `held_out` after each round; to be run by all workers."""
    key = jax.random.key(seed)
    graph, params = nnx.split(Network(32, nnx.Rngs(key)))
    key = jax.random.fold_in(key, jax.lax.axis_index("worker"))
    shape = len(rounds), TAU, BATCH
    batches = jax.random.randint(key, shape, 0, len(train.labels))

    def gradient(params, batch):
        x, y = train.pixels[batch], train.labels[batch]
        return jax.grad(lambda p: cross_entropy(nnx.merge(graph, p)(x), y))(params)

    def score(params):
        logits = nnx.merge(graph, params)(held_out.pixels)
        return accuracy(logits, held_out.labels)

    method = elastic if every is None else partial(averaged, every)
    params = jax.lax.pcast(params, "worker", to="varying")
    return mean(method(gradient, score, params, rate, batches))


@jax.jit
def trainings(train, held_out, every, rounds, rates, seeds):
    """Accuracies, shape (lanes, rounds); a lane is a learning rate and a seed."""
    mesh = jax.make_mesh((WORKERS,), ("worker",), axis_types=(AxisType.Auto,))
    lanes = jax.vmap(training, (None, None, None, None, 0, 0))
    workers = jax.shard_map(lanes, mesh=mesh, in_specs=P(), out_specs=P())
    return workers(train, held_out, every, rounds, rates, seeds)


def tuned(train, validation, test, every, tiny):
    """Validation scores of the rates; test curves at the best, on as many new seeds."""
    rates, seeds = (RATES[:1], 2) if tiny else (RATES, 3)
    rounds, n = jnp.arange(2 if tiny else ROUNDS), len(rates) * seeds
    lanes = jnp.repeat(rates, seeds), jnp.arange(n) % seeds
    curves = trainings(train, validation, every, rounds, *lanes)
    tuning = np.asarray(curves[:, -LAST:]).reshape(len(rates), -1).mean(1)
    lanes = jnp.full(n, rates[tuning.argmax()]), 100 + jnp.arange(n)
    return tuning, np.asarray(trainings(train, test, every, rounds, *lanes), np.float64)


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    images, test = load()
    data = Images(*(x[360:] for x in images)), Images(*(x[:360] for x in images)), test
    figure, scores, best = Figure((10, 3.8), layout="constrained"), {}, {}
    left, right = figure.subplots(1, 2, sharey=True)
    for name, every in METHODS.items():
        tuning, curves = tuned(*data, every, tiny)
        scores[name] = curves[:, -LAST:].mean(1)
        best[name] = RATES[tuning.argmax()], tuning.max()
        left.semilogx(RATES[: len(tuning)], tuning, "o-", ms=3)
        right.plot(TAU * (1 + np.arange(curves.shape[1])), curves.mean(0), label=name)
    left.set(xlabel="learning rate", ylabel="accuracy (fraction)", title="validation")
    left.set_ylim(0.8, 1.0)
    right.set(xlabel="steps of each worker", title="test, at the best learning rate")
    right.legend(loc="lower right")
    table = report.comparison(f"{WORKERS} workers", "test accuracy", scores)
    effect = table.split(" |\n")[-2].split(" | ")[-1]
    validated = [score for _, score in best.values()]
    chosen = "; ".join(f"{k}: {rate:.2g} ({v:.4f})" for k, (rate, v) in best.items())
    text = (
        f"{table}\nLearning rate (validation accuracy): {chosen}.\n\n"
        f"Scores are means over the last {LAST * TAU} steps, of the centre or of the "
        "workers' average, also where they never take it over.\n\n"
        f"To take away: at {TAU} steps a communication, the elastic pull in place of "
        f"the average changes the test accuracy by {effect}, over seeds and on the "
        f"same {len(test.labels)} images; on the validation images the change is "
        f"{validated[-1] - validated[0]:+.4f}.\n"
    )
    report.show("elastic_averaging", __doc__.splitlines()[0], text, figure, out)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", WORKERS)
    typer.run(main)
