"""`python examples/choose_strength.py`: how strong a pull, how long a period?

Behind any optimizer the decoupled pull of strength lambda = lambda_w / rate lets a
period of S steps go about as far as at the rate 1 / (2 lambda S). So, where the
optimizer alone trains well at a "safe" rate, the rule

    period S = 5,    lambda_w = rate / (2 S safe)

should train as well at rates far above it, on any schedule common to both, as
`optax.scale(safe / rate)` does without an anchor. It was found on digits (SGD with
momentum, a dense network). Predicted before its first run on Fashion-MNIST (`--data
fashion-mnist`: Adam, a convolutional network), at 10 x safe:

1. the rule's test accuracy does not differ significantly from that at the safe rate;
2. without a pull it is lower (known from sensitivity-fashion-mnist);
3. the distance from the anchor at the end of a period is on average 0.5 to 2 times that
   at the safe rate, the pull ratio there 0.7 to 1.1 (lambda_w and S alone say 0.99);
4. a tenth of the strength: lower accuracy, more than twice the distance;
5. ten times the strength: lower accuracy, less than half of the distance.

All five came out so. The safe rate is the best of 13 on the seeds 0-4 in validation;
all rows are compared on the seeds 100-109, paired.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import anchor_report
import digits
import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
import typer
from flax import nnx
from tuning import CHOSEN, over_lanes, side_by_side

from prox_optax import anchor_distance, decoupled_proximal, pull_ratio

BATCH, PERIOD, MEASURE = 8, 5, "test accuracy (fraction)"
RATES = np.geomspace(0.001, 1, 13).round(4)
RULE, WEAK, STRONG = "the rule", "0.1 x the rule", "10 x the rule"
FACTORS = (0.1, 0.3, 0.5, 1, 2, 3, 10)
STRENGTHS = {RULE if x == 1 else f"{x} x the rule": x for x in FACTORS}
FRESH = 100  # the first seed of the tests
BARE, SAFE = "no pull", "safe rate, no pull"
HIGH, PERIODS = (3, 10, 30), (1, 2, 5, 10, 20, 50)


def task(data, folder):
    """Network, optimizer, rates; images to train on, to validate and to test with."""
    if data == "fashion-mnist":
        import fashion_mnist

        images = fashion_mnist.load(folder)
        return fashion_mnist.Network, optax.adam, RATES / 10, images
    sgd = partial(optax.sgd, momentum=0.9)
    return partial(digits.Network, 64), sgd, RATES, digits.load(validation=300)


def point(safe, times, strength, period=PERIOD):
    """Describe a run at `times` the safe rate and `strength` times the rule's pull."""
    rate = times * safe
    pull = strength * rate / (2 * period * safe)
    return {"rate": rate, "lambda_w": pull, "period": period}


def best(rates, scores):
    """Return the rate with the highest mean of scores, shape (rates, seeds)."""
    return rates[scores.mean(axis=1).argmax()]


def train(network, optimizer, steps, images, rate, lambda_w, period, seed):
    """Accuracy on the second images; loss, pull ratio and distances at each step."""
    data, held_out = images
    init_key, key = jax.random.split(jax.random.key(seed))
    graph, params = nnx.split(network(rngs=nnx.Rngs(init_key)))
    base = optimizer(optax.cosine_decay_schedule(rate, steps))
    pull = decoupled_proximal(lambda_w, period)
    gradient = jax.value_and_grad(partial(digits.loss, graph))

    def step(carry, t):
        params, state, anchored = carry
        key_t = jax.random.fold_in(key, t)
        rows = jax.random.randint(key_t, (BATCH,), 0, len(data.labels))
        loss, grads = gradient(params, data.take(rows))
        u, state = base.update(grads, state, params)
        updates, anchored = pull.update(u, anchored, params)
        ratio = pull_ratio(anchored, params, u, lambda_w)
        params = optax.apply_updates(params, updates)
        norm, relative, *_ = anchor_distance(anchored, params)
        return (params, state, anchored), jnp.stack([loss, ratio, norm, relative])

    carry = params, base.init(params), pull.init(params)
    (params, _, _), seen = jax.lax.scan(step, carry, jnp.arange(steps))
    return digits.accuracy(graph, params, held_out), seen


def tables(data, safe):
    """Name the points that each comparison is of, {title: {method: point}}."""
    alone = {SAFE: point(safe, 1, 0.0)}
    strengths = {BARE: 0.0, **STRENGTHS}
    at_rates = {
        f"{data}, {x} x safe": {k: point(safe, x, y) for k, y in strengths.items()}
        for x in HIGH
    }
    periods = {f"S = {S}": point(safe, 10, 1.0, S) for S in PERIODS}
    titled = {**at_rates, f"{data}, the rule at 10 x safe": periods}
    return {title: alone | points for title, points in titled.items()}


def figures(data, scores, seen):
    """Accuracy by strength; what was seen with a pull too weak, right and strong."""
    at = {x: f"{data}, {x} x safe" for x in HIGH}
    ten = seen[at[10]]
    panels = {
        f"{title}: {row}": {"10 x safe, pull": ten[row], SAFE: ten[SAFE]}
        for title, row in (("too weak", WEAK), ("right", RULE), ("too strong", STRONG))
    }
    others = {"seen": anchor_report.draw_seen(panels, PERIOD)}
    curves = {f"{x} x safe, pull": [scores[at[x]][k] for k in STRENGTHS] for x in HIGH}
    curves[SAFE] = [scores[at[10]][SAFE]] * len(STRENGTHS)
    strengths = list(STRENGTHS.values())
    return anchor_report.draw_scores(strengths, curves, MEASURE), others


def raw_records(compared, scores, ends):
    """Of the comparisons, and of what was seen at the ends of the periods.

    Args:
      compared: {title: {method: point}}.
      scores: {title: {method: (seeds,)}}.
      ends: {title: {method: (seeds, 4)}}.
    """
    raw: list[records.Record] = []
    for title, points in compared.items():
        for name, numbers in points.items():
            trial = {k: np.array([x]) for k, x in numbers.items()}
            columns = {title: scores[title][name]}
            for i, measure in enumerate(anchor_report.SEEN):
                columns[f"{title}: {measure}"] = ends[title][name][:, i]
            for table, x in columns.items():
                raw += records.of_trials(table, "test", name, trial, x[None], FRESH)
    return raw


def main(
    tiny: bool = False,
    out: Path = Path("results/examples"),
    data: Literal["digits", "fashion-mnist"] = "digits",
    data_dir: Path | None = None,
) -> None:
    """Find the safe rate on validation images, test the rule at higher ones."""
    steps, n = (20, 2) if tiny else (1000, 10)
    network, optimizer, rates, (training, validation, test) = task(data, data_dir)
    run = over_lanes(partial(train, network, optimizer, steps))
    bare = [point(x, 1, 0.0) for x in rates]
    tuned, _ = side_by_side(partial(run, (training, validation)), bare, range(5))
    tuned = records.as_written(tuned)
    safe = best(rates, tuned)
    tested, scores, seen = partial(run, (training, test)), {}, {}
    compared = tables(data, safe)
    for title, points in compared.items():
        found = side_by_side(tested, list(points.values()), range(FRESH, FRESH + n))
        found = records.as_written(found[0]), found[1]
        scores[title], seen[title] = (dict(zip(points, x, strict=True)) for x in found)

    ends = {
        title: {name: anchor_report.at_ends(x, PERIOD) for name, x in runs.items()}
        for title, runs in seen.items()
    }
    text = (
        f"{report.comparisons(MEASURE, scores)}\n{steps} steps of batch {BATCH}, "
        f"cosine decay. The safe rate, {safe:.3g}, is the best of {len(rates)}, "
        f"{rates[0]:.3g} to {rates[-1]:.3g}, in validation on the seeds 0 to 4; "
        f"compared on those from {FRESH}.\n"
    )
    for title in list(compared)[: len(HIGH)]:
        text += f"\nMeans over the ends of all periods, {title}:\n\n"
        text += anchor_report.table(ends[title])
    raw = [
        *records.of_trials(CHOSEN, "validation", BARE, {"rate": rates}, tuned),
        *raw_records(compared, scores, ends),
    ]
    figure, others = figures(data, scores, seen)
    report.show("choose_strength", text, figure, raw, out, tiny, data, **others)


if __name__ == "__main__":
    typer.run(main)
