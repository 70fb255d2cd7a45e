"""`python examples/diloco_bytes.py`: the loss against the bytes that workers send.

1, 2 and 4 workers see as many images together, each in batches of 32 from a share of
its own. Data-parallel training averages the gradients in each step. DiLoCo lets each
worker train by itself for 20 steps; then `outer` averages how far the workers are from
the anchor, and moves the anchor by SGD with Nesterov's momentum. One worker sends
nothing: there it is AdamW alone, or with slow weights.

The workers are lanes of `jax.vmap` on one device, whose averages are those that
train_diloco.py takes between devices. Each method chooses among 12 trials by the loss
on validation images, on the seeds 0-7, and is compared on the seeds 300-395, paired:
data-parallel training among 12 rates, DiLoCo among 4 of them at three outer momenta.
DiLoCo's outer rate is 0.7, as published, and was not tuned.

Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
arXiv 2311.08105.
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
from matplotlib.figure import Figure
from train_diloco import BATCH, GRAPH, HIDDEN, PERIOD, WORKERS
from tuning import (
    best_records,
    choices,
    grid,
    over_lanes,
    trial_records,
    tune_then_test,
)

from prox_optax import get_anchor, outer

COUNTS, EXAMPLES = (1, 2, 4), 38_400  # images that all workers see together
FRESH, MEASURE = 300, "test loss"  # the first seed of the test
RATES = np.geomspace(0.0005, 0.03, 12).round(5)
TRIALS = {
    "data-parallel": grid(rate=RATES),
    "DiLoCo": grid(rate=RATES[1::3], momentum=(0.0, 0.5, 0.9)),
}


def data_parallel(rate, momentum):
    """Return AdamW behind the mean gradient of the workers."""
    mean = optax.stateless(lambda grads, _: jax.lax.pmean(grads, WORKERS))
    return optax.chain(mean, optax.adamw(rate))


def diloco(rate, momentum):
    """Return AdamW with slow weights that all workers share."""
    nesterov = optax.sgd(0.7, momentum, nesterov=True)
    return optax.chain(optax.adamw(rate), outer(nesterov, PERIOD, axis_name=WORKERS))


METHODS = {
    "data-parallel": (data_parallel, lambda _, params: params),
    "DiLoCo": (diloco, get_anchor),
}


def shared_out(images, workers):
    """Give each worker as many images; the workers are the leading axis."""
    n = len(images.labels) // workers
    return jax.tree.map(
        lambda x: x[: workers * n].reshape(workers, n, *x.shape[1:]), images
    )


def training(method, rounds, workers, images, held_out, rate, momentum, seed):
    """Return the loss on `held_out` after each round of PERIOD steps."""
    make, slow = METHODS[method]
    tx, key = make(rate, momentum), jax.random.key(seed)
    params = jax.tree.map(lambda x: x[0], digits.initial(key[None], HIDDEN))
    own_images = shared_out(images, workers)

    def step(carry, key, own):
        params, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, len(own.labels))
        grads = jax.grad(digits.loss, 1)(GRAPH, params, own.take(rows))
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def a_round(carry, t):
        keys = jax.random.split(jax.random.fold_in(key, t), (PERIOD, workers))
        together = jax.vmap(step, axis_name=WORKERS)
        carry, _ = jax.lax.scan(
            lambda carry, keys: (together(carry, keys, own_images), None), carry, keys
        )
        own, state = jax.tree.map(lambda x: x[0], carry)  # all are alike there
        return carry, digits.loss(GRAPH, slow(state, own), held_out)

    start = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (workers, *x.shape)), (params, tx.init(params))
    )
    return jax.lax.scan(a_round, start, jnp.arange(rounds))[1]


def rounds_of(workers):
    """Return in how many rounds all workers see EXAMPLES images."""
    return EXAMPLES // (workers * BATCH * PERIOD)


def title_of(workers):
    return f"{workers} worker{'s' * (workers > 1)}, {PERIOD * rounds_of(workers)} steps"


def sent(name, workers):
    """Return the bytes that a worker gives to all-reduces in a round."""
    params = digits.initial(jax.random.key(0)[None], HIDDEN)
    numbers = sum(x.size for x in jax.tree.leaves(params))
    averages = PERIOD if name == "data-parallel" else 1
    return 4 * numbers * averages * (workers > 1)


def tuned(name, workers, data, tiny):
    """Tune a method for so many workers, and test it on fresh seeds."""
    images, validation, test = data
    rounds, seeds = (2, 1) if tiny else (rounds_of(workers), 8)
    trials = {key: x[:2] if tiny else x for key, x in TRIALS[name].items()}
    run = over_lanes(partial(training, name, rounds, workers, images))
    return tune_then_test(
        lambda **lanes: -run(validation, **lanes)[:, -1:],
        partial(run, test),
        {name: trials},
        range(seeds),
        FRESH,
        momentum=0.0,
    )[name]


def draw(curves):
    """Draw the loss against the bytes sent; of one worker the last loss."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    xlabel = "bytes that a worker gave to all-reduces"
    axes = figure.add_subplot(xlabel=xlabel, ylabel=f"{MEASURE}, mean of the seeds")
    for (workers, name), losses in curves.items():
        color = report.OTHERS[COUNTS.index(workers)][0]
        mean = losses.mean(axis=0)
        line = "--" if name == "data-parallel" else "-"
        label = f"{name}, {workers} worker{'s' * (workers > 1)}"
        if workers == 1:
            axes.axhline(mean[-1], color=color, linestyle=line, label=label)
            continue
        x = sent(name, workers) * (1 + np.arange(len(mean)))
        axes.plot(x, mean, line, color=color, label=label)
    axes.set(xscale="log", yscale="log")
    axes.legend(fontsize="small")
    return figure


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune each method with each number of workers, test it on fresh seeds."""
    data = digits.load(validation=360)
    curves: dict[tuple[int, str], np.ndarray] = {}
    parts, raw, verdicts, bytes_sent = [], [], "", ""
    for workers in COUNTS[:2] if tiny else COUNTS:
        title = title_of(workers)
        best = {name: tuned(name, workers, data, tiny) for name in METHODS}
        scores = {
            name: records.as_written(t.outcome[:, -1]) for name, t in best.items()
        }
        curves |= {(workers, name): t.outcome for name, t in best.items()}
        chosen = f"Chosen with {title}"
        parts += [report.comparison(title, MEASURE, scores), choices(best, chosen)]
        raw += trial_records(chosen, best) + best_records(title, best, scores, FRESH)
        verdicts += f"- {title}: {report.verdict(scores, 'DiLoCo', 'data-parallel')}\n"
        in_all = {name: rounds_of(workers) * sent(name, workers) for name in METHODS}
        each = (f"{name} {number:,}" for name, number in in_all.items())
        bytes_sent += f"- {title}: {', '.join(each)}\n"
    text = (
        "\n".join(parts)
        + f"\nThe workers see {EXAMPLES:,} images together, in batches of {BATCH}. "
        "Bytes that a worker gives to all-reduces in a run, 4 for each parameter:\n\n"
        f"{bytes_sent}\nTrials are scored by minus the loss on validation images. The "
        "workers are simulated on one device. To take away, a lower loss is better:\n\n"
        f"{verdicts}"
    )
    report.show("diloco_bytes", text, draw(curves), raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
