"""Language modelling on bytes: predict the next byte of a text from those before it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.data import text
from benchmarks.models.transformer import BYTES, SHAPES, Transformer
from benchmarks.records import files
from benchmarks.records.score import Score, Wording
from benchmarks.tasks.problem import Request, split_model
from benchmarks.training.task import Task

NETWORK = "network"
UNIFORM = 8.0  # bits per byte of a guess that knows nothing
EVALUATED_TOGETHER = 32


@dataclass(frozen=True)
class Text:
    """The numbers of a text and of the transformer that learns it.

    Attributes:
      shape: of the transformer, a name in `benchmarks.models.transformer.SHAPES`.
      context: number of bytes that a window predicts.
      windows: number of windows in an epoch, cut out of the train split at random.
      dtype: of the activations.
      data: names what is read.
      train: always None, the whole train split.
    """

    shape: str
    context: int
    windows: int
    dtype: str
    data: str = "a text file"
    train: None = None

    measures: ClassVar[tuple[str, ...]] = ("loss", "bits_per_byte")
    score: ClassVar[Score] = Score(
        name="bits_per_byte",
        labels={
            "loss": "cross-entropy loss (nats a byte)",
            "bits_per_byte": "bits per byte",
        },
        higher=False,
        tolerance=0.05,
        failed=4.5,
        axis=(1.5, 5.5),
        zoom=0.5,
    )

    def load(self, data_dir: Path | None) -> text.TextSet:
        return text.load(data_dir, self.context)

    def examples(self, data_set: text.TextSet) -> int:
        return self.windows

    def network(self, rngs: nnx.Rngs) -> Transformer:
        dtype = jnp.dtype(self.dtype)
        return Transformer(SHAPES[self.shape], dtype=dtype, rngs=rngs)

    def task(self, data_set: text.TextSet, batch_size: int) -> Task:
        return language(self, len(data_set.train), batch_size)

    def references(self, data_set: text.TextSet) -> dict[str, dict[str, float]]:
        """Score guesses by how often bytes occur in the train split.

        Every byte counts once more than it occurs, so that none has probability 0.
        """
        train, test = (np.asarray(x) for x in (data_set.train, data_set.test))
        pairs = np.ones((BYTES, BYTES))
        np.add.at(pairs, (train[:-1], train[1:]), 1)
        single = np.bincount(train, minlength=BYTES) + 1
        frequencies = -np.log2(single / single.sum())[test[1:]].mean()
        following = -np.log2(pairs / pairs.sum(axis=1, keepdims=True))
        return {
            "a uniform guess": {"bits_per_byte": UNIFORM},
            "byte frequencies": {"bits_per_byte": float(frequencies)},
            "frequencies after the last byte": {
                "bits_per_byte": float(following[test[:-1], test[1:]].mean())
            },
        }

    def wording(self) -> Wording:
        return Wording(
            items="windows",
            setting=f"the last 5 % of the\ntext for test, the 5 % before it for "
            f"validation, in windows of {self.context} bytes;\n{self.windows} random "
            f"windows an epoch; network: transformer {self.shape}, {self.dtype}.",
            sampling_error="",
            failures="More than 8 bits, or none that are finite, count as 8.",
            near="0.05 bits",
            zoomed="within half a bit of the best",
        )

    def tiny(self) -> Self:
        """Take a tiny transformer and few short windows."""
        return replace(self, shape="tiny", context=16, windows=64)

    def abstract(self) -> Any:
        return nnx.eval_shape(lambda: initial_values(self, jax.random.key(0)))

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        """Write a file of text from the weights of each optimizer."""
        prompt = request.prompt.encode()
        if not prompt:
            raise ValueError("An empty prompt; write one byte or more: --prompt TEXT.")
        key, written = jax.random.key(request.seed), []
        for name, (params, _) in weights.items():
            made = continuation(self, params[NETWORK], prompt, request, key)
            path = request.folder / f"{name}.txt"
            files.write_bytes(path, prompt + made)
            written.append(path)
        return written


def initial_values(numbers: Text, key: jax.Array) -> tuple[dict[str, Any], Any]:
    _, params, stats = split_model(numbers.network(nnx.Rngs(key)))
    return {NETWORK: params}, stats


def language(numbers: Text, length: int, batch_size: int) -> Task:
    """Return the task of a text whose train split has `length` bytes."""
    graph, _, stats = split_model(nnx.eval_shape(lambda: numbers.network(nnx.Rngs(0))))
    steps, window = numbers.windows // batch_size, jnp.arange(numbers.context + 1)[None]

    def losses(params: Any, bytes_: jax.Array) -> jax.Array:
        """Return the nats of every byte but the first of each window."""
        model = nnx.merge(graph, params[NETWORK], stats, copy=True)
        return optax.losses.softmax_cross_entropy_with_integer_labels(
            model(bytes_[:, :-1]), bytes_[:, 1:].astype(jnp.int32)
        )

    def batches(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        key, last = jax.random.fold_in(key, epoch), length - numbers.context
        return jax.random.randint(key, (steps, batch_size), 0, last)

    def loss(
        params: dict[str, Any], stats: Any, train: jax.Array, start: Any, key: Any
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        value = losses(params, train[start[:, None] + window]).mean()
        return value, (stats, {"loss": value, "bits_per_byte": value / jnp.log(2)})

    def evaluate(
        params: dict[str, Any], stats: Any, split: Any
    ) -> dict[str, jax.Array]:
        """Score every byte but the first, in consecutive windows.

        A window knows nothing of the bytes before it.
        """
        targets = len(split) - 1
        starts = jnp.arange(0, targets, numbers.context)
        index = starts[:, None] + window

        def one(index: jax.Array) -> jax.Array:
            nats = losses(params, split[jnp.minimum(index, targets)][None])[0]
            return jnp.where(index[1:] <= targets, nats, 0).sum()

        nats = jax.lax.map(one, index, batch_size=EVALUATED_TOGETHER).sum() / targets
        return {"loss": nats, "bits_per_byte": known_bits(nats)}

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        return initial_values(numbers, key)

    return Task(init, batches, {NETWORK: loss}, evaluate, Text.measures)


def known_bits(nats: jax.Array) -> jax.Array:
    """Return bits, at most those of a uniform guess, which none that are finite are."""
    bits = nats / jnp.log(2)
    return jnp.where(jnp.isfinite(bits), jnp.minimum(bits, UNIFORM), UNIFORM)


def continuation(
    numbers: Text, params: Any, prompt: bytes, request: Request, key: jax.Array
) -> bytes:
    """Draw one byte after the other, each from the last `context` bytes."""
    graph, _, stats = split_model(nnx.eval_shape(lambda: numbers.network(nnx.Rngs(0))))
    known = np.frombuffer(prompt[-numbers.context :], np.uint8)
    window = np.zeros(numbers.context, np.uint8)
    window[: len(known)] = known

    def draw(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> Any:
        window, filled = carry
        model = nnx.merge(graph, params, stats, copy=True)
        logits = model(window[None])[0, filled - 1]
        greedy = request.temperature == 0
        scaled = logits / (1 if greedy else request.temperature)
        byte = scaled.argmax() if greedy else jax.random.categorical(key, scaled)
        window = jnp.where(filled == len(window), jnp.roll(window, -1), window)
        at = jnp.minimum(filled, len(window) - 1)
        return (window.at[at].set(byte.astype(jnp.uint8)), at + 1), byte

    start = (jnp.asarray(window), jnp.int32(len(known)))
    keys = jax.random.split(key, request.length)
    _, made = jax.jit(lambda: jax.lax.scan(draw, start, keys))()
    return bytes(np.asarray(made, np.uint8))
