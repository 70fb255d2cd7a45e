"""`python examples/mixed_precision.py`: what bfloat16 leaves of the pull, and accuracy.

Adam behind `proximal(strength)` on digits, in the precisions that are in use:

- float32: parameters, gradients and anchor.
- gradients cast: computed in bfloat16 from float32 parameters (master weights), then
  cast to float32; a cast of the parameters inside the loss comes to the same.
- bfloat16 gradients: not cast. The pull is added in float32 and the sum is rounded.
- bfloat16 anchor: `anchor_dtype="bfloat16"`, all else float32. It warns.
- bfloat16 parameters: no master weights; moments and anchor are in bfloat16 as well.

All ways train on the same 10 seeds at every strength and rate: nothing is tuned. The
error of the pull is what was added to the gradients less 2 strength (w - a), over
the latter: root mean squares over all weights and steps.
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
from tuning import grid, tune

from prox_optax import proximal

HIDDEN, BATCH = 64, 8
TRAIN, _, TEST = digits.load()
GRAPH = digits.graph(HIDDEN)
RATES = (1e-4, 1e-3, 1e-2)
TRIALS = grid(strength=(0, 0.1, 10), rate=RATES)
ERROR, ACCURACY = "Error of the pull (fraction of it)", "Test accuracy (fraction)"
PULL = "pull over gradient"
WIDE, LOW = jnp.float32, jnp.bfloat16
METHODS = {  # dtypes of the parameters, computation, gradients and anchor
    "float32": (WIDE, WIDE, WIDE, None),
    "gradients cast": (WIDE, LOW, WIDE, None),
    "bfloat16 gradients": (WIDE, LOW, LOW, None),
    "bfloat16 anchor": (WIDE, WIDE, WIDE, LOW),
    "bfloat16 parameters": (LOW, LOW, LOW, None),
}


def learn(dtypes, trial, start, batches):
    """Test accuracy, the error of the pull, and the pull over the gradients."""
    stored, compute, gradients, anchor = dtypes
    pull = proximal(trial["strength"], anchor_dtype=anchor)
    exact, adam = proximal(trial["strength"]), optax.adam(trial["rate"])

    def loss(params, rows):
        images = TRAIN.take(rows)
        logits = nnx.merge(GRAPH, params)(images.pixels.astype(compute))
        return digits.cross_entropy(logits.astype(WIDE), images.labels)

    def step(carry, rows):
        params, (ours, theirs, moments) = carry
        g = jax.grad(loss)(optax.tree.cast(params, compute), rows)
        g = optax.tree.cast(g, gradients)
        pulled, ours = pull.update(g, ours, params)
        updates, moments = adam.update(pulled, moments, params)

        w, g, pulled = (optax.tree.cast(x, WIDE) for x in (params, g, pulled))
        wanted, theirs = exact.update(optax.tree.zeros_like(g), theirs, w)
        missed = jax.tree.map(lambda p, g, x: p - g - x, pulled, g, wanted)
        sizes = [optax.tree.norm(x, squared=True) for x in (missed, wanted, g)]
        params = optax.apply_updates(params, updates)
        return (params, (ours, theirs, moments)), jnp.stack(sizes)

    params = optax.tree.cast(start, stored)
    states = pull.init(params), exact.init(start), adam.init(params)
    (params, _), sizes = jax.lax.scan(step, (params, states), batches)
    missed, wanted, g = jnp.sqrt(sizes.sum(axis=0))
    accuracy = digits.accuracy(GRAPH, params, TEST)
    return jnp.stack([accuracy, missed / wanted, wanted / g]), ()


def table(places, rows):
    """Write Markdown, mean +- half of the 95 % interval over the seeds."""
    lines = [["", *next(iter(rows.values()))]]
    lines.append(["---" for _ in lines[0]])
    for name, cells in rows.items():
        halves = [report.half_width(x) for x in cells.values()]
        pairs = zip(cells.values(), halves, strict=True)
        lines.append([name, *(f"{x.mean():.{places}g} +- {h:.1g}" for x, h in pairs)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def summary(scores):
    """Two tables, and the accuracies compared with float32's."""
    accuracies, errors = {}, {}
    for i, (strength, rate) in enumerate(zip(*TRIALS.values(), strict=True)):
        trial = f"strength {strength:g}, rate {rate:g}"
        accuracies[trial] = {name: x[i, :, 0] for name, x in scores.items()}
        if strength:
            errors[trial] = {name: x[i, :, 1] for name, x in scores.items()}
            errors[trial][PULL] = scores["float32"][i, :, 2]
    pairs = [(name, "float32") for name in METHODS if name != "float32"]
    return (
        f"{ERROR}:\n\n{table(2, errors)}"
        f"{ACCURACY}:\n\n{table(4, accuracies)}"
        f"{report.verdicts_at(accuracies, *pairs)}"
    )


def raw_records(scores):
    """Of both tables; where nothing pulls, it has no error."""
    of_accuracy = partial(records.of_trials, ACCURACY, "test")
    of_error = partial(records.of_trials, ERROR, "test")
    pulls = TRIALS["strength"] > 0
    pulled = {name: x[pulls] for name, x in TRIALS.items()}
    raw: list[records.Record] = []
    for name, x in scores.items():
        raw += of_accuracy(name, TRIALS, x[..., 0])
        raw += of_error(name, pulled, x[pulls, :, 1])
    return [*raw, *of_error(PULL, pulled, scores["float32"][pulls, :, 2])]


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Train every way on the same seeds."""
    seeds, steps = (2, 5) if tiny else (10, 1000)
    start = digits.initial(jax.random.split(jax.random.key(0), seeds), HIDDEN)
    rng = np.random.default_rng(0)
    batches = rng.integers(len(TRAIN.labels), size=(seeds, steps, BATCH))
    scores = {
        name: records.as_written(
            tune(partial(learn, dtypes), TRIALS, start, batches).scores
        )
        for name, dtypes in METHODS.items()
    }
    of_default = TRIALS["strength"] == 0.1
    low = ("bfloat16 gradients", "bfloat16 anchor", "bfloat16 parameters")
    panel = {name: scores[name][of_default, :, 1].T for name in low}
    rates, ylabel = [f"{x:g}" for x in RATES], "error of the pull (fraction of it)"
    figure = report.draw(
        rates, {"strength 0.1": panel}, "learning rate of Adam", ylabel
    )
    figure.axes[0].set_yscale("log")
    title = (
        f"Digits at batch {BATCH}, {steps} steps, "
        f"mean +- half of the 95 % interval (n={seeds})"
    )
    text, raw = f"{title}\n\n{summary(scores)}", raw_records(scores)
    report.show("mixed_precision", text, figure, raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
