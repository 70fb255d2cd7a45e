"""Language modelling on texts one after the other, then asked of all of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data import text
from benchmarks.models.transformer import SHAPES, Transformer
from benchmarks.optimizers.method import Lesson
from benchmarks.records.score import Score, Wording
from benchmarks.tasks.language import NETWORK, known_bits
from benchmarks.tasks.problem import split_model
from benchmarks.training.series import Calendar
from benchmarks.training.task import Series, Task


@dataclass(frozen=True)
class TextSeries:
    """The numbers of texts in series and of the transformer that learns them.

    Attributes:
      shape: of the transformer, a name in `benchmarks.models.transformer.SHAPES`.
      context: number of bytes that a window predicts.
      windows: number of windows in an epoch, cut out of the train split at random.
      evaluated: number of windows of each text, at equal distances, that are scored.
      remembered: number of windows of a finished text, at equal distances in its train
        split, that methods may look at or keep.
      tasks: the number of texts.
      epochs_each: epochs for each text; further epochs are of the last one.
      data: names what is read.
      train: always None, the whole train split.
    """

    shape: str
    context: int
    windows: int
    evaluated: int
    remembered: int
    tasks: int
    epochs_each: int
    data: str = "a folder of texts"
    train: None = None

    measures: ClassVar[tuple[str, ...]] = ("loss", "bits_per_byte")

    @property
    def score(self) -> Score:
        """Return the mean bits per byte of all texts, beside the measures of each."""
        labels = {"bits_per_byte": "mean bits per byte of all texts"}
        for number in range(1, self.tasks + 1):
            labels[f"loss_{number}"] = f"cross-entropy loss of text {number} (nats)"
            labels[f"bits_per_byte_{number}"] = f"bits per byte of text {number}"
        return Score(
            name="bits_per_byte",
            labels=labels,
            higher=False,
            tolerance=0.05,
            failed=6.0,
            axis=(1.5, 8.0),
            zoom=0.5,
        )

    def load(self, data_dir: Path | None) -> text.TextSet:
        return text.load_all(data_dir, self.context, self.tasks)

    def examples(self, data_set: text.TextSet) -> int:
        return self.windows

    def task(self, data_set: text.TextSet, batch_size: int) -> Task:
        return in_series(self, data_set.train.shape[1], batch_size)

    def network(self, rngs: nnx.Rngs) -> Transformer:
        return Transformer(SHAPES[self.shape], rngs=rngs)

    def abstract(self) -> Any:
        return jax.eval_shape(lambda: self.initial(jax.random.key(0)))

    def initial(self, key: jax.Array) -> tuple[dict[str, Any], Any]:
        """Return parameters by player; there are no statistics."""
        return {NETWORK: nnx.state(self.network(nnx.Rngs(key)))}, ()

    def references(self, data_set: text.TextSet) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        return Wording(
            items="windows",
            setting=f"the last 5 % of each\ntext for test, the 5 % before it for "
            f"validation, {self.evaluated} windows of {self.context} bytes of each;\n"
            f"{self.tasks} texts, {self.epochs_each} epochs of {self.windows} random "
            f"windows each; network: transformer {self.shape}.",
            sampling_error="",
            failures="More than 8 bits, or none that are finite, count as 8.",
            near="0.05 bits",
            zoomed="within half a bit of the best",
        )

    def tiny(self) -> Self:
        """Take two texts of an epoch, a tiny transformer and few short windows."""
        few = replace(self, tasks=2, epochs_each=1, windows=64)
        return replace(few, shape="tiny", context=16, evaluated=8, remembered=8)


class Windows(NamedTuple):
    """How the texts are cut, and what a network says of them.

    Attributes:
      numbers: of the texts.
      length: bytes of each train split.
      graph: the network without its parameters.
    """

    numbers: TextSeries
    length: int
    graph: nnx.GraphDef[Any]

    def cut(
        self, texts: jax.Array, number: Any, starts: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return windows, and the byte after each of their bytes.

        Both have the shape (n, context).
        """
        index = starts[:, jnp.newaxis] + jnp.arange(self.numbers.context + 1)[None]
        own = jnp.broadcast_to(number, starts.shape)
        found = texts[own[:, jnp.newaxis], index]
        return found[:, :-1], found[:, 1:].astype(jnp.int32)

    def spread(self, windows: int, length: int) -> jax.Array:
        """Return the starts of windows at equal distances in so many bytes."""
        last = length - self.numbers.context - 1
        return jnp.linspace(0, last, windows).astype(jnp.int32)

    def outputs(self, params: Any, inputs: jax.Array) -> jax.Array:
        """Return the logits of the next byte at each place of a window."""
        model: Callable[[jax.Array], jax.Array] = nnx.merge(self.graph, params)
        return model(inputs)

    def loss(self, params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        """Return the mean nats a byte."""
        loss = optax.losses.softmax_cross_entropy_with_integer_labels
        return loss(self.outputs(params, inputs), targets).mean()

    def lesson(
        self, texts: jax.Array, starts: jax.Array, number: Any, key: jax.Array
    ) -> Lesson:
        """Return windows of a text as methods see them; they keep places in it."""
        remembered = self.spread(self.numbers.remembered, self.length)

        def recall(tasks: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
            return self.cut(texts, tasks, remembered[at])

        return Lesson(self.outputs, *self.cut(texts, number, starts), recall, key)


def in_series(numbers: TextSeries, length: int, batch_size: int) -> Task:
    """Return the texts in series as the training loop calls them.

    There are no statistics. A batch is starts of windows and the number of the text.
    `length` is the bytes of each train split.
    """
    graph, _, _ = split_model(nnx.eval_shape(lambda: numbers.network(nnx.Rngs(0))))
    windows = Windows(numbers, length, graph)
    calendar = Calendar(numbers.tasks, numbers.epochs_each)
    steps = numbers.windows // batch_size

    def batches(key: jax.Array, epoch: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        key, last = jax.random.fold_in(key, epoch), length - numbers.context
        starts = jax.random.randint(key, (steps, batch_size), 0, last)
        return starts, jnp.full(steps, calendar.number_at(epoch))

    def loss(
        params: dict[str, Any], stats: Any, texts: jax.Array, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        starts, number = batch
        value = windows.loss(params[NETWORK], *windows.cut(texts, number, starts))
        return value, (stats, {"loss": value, "bits_per_byte": value / jnp.log(2)})

    def evaluate(
        params: dict[str, Any], stats: Any, texts: jax.Array
    ) -> dict[str, jax.Array]:
        starts = windows.spread(numbers.evaluated, texts.shape[1])
        measures = {}
        for number in range(numbers.tasks):
            nats = windows.loss(params[NETWORK], *windows.cut(texts, number, starts))
            measures[f"loss_{number + 1}"] = nats
            measures[f"bits_per_byte_{number + 1}"] = known_bits(nats)
        each = [measures[f"bits_per_byte_{k + 1}"] for k in range(numbers.tasks)]
        return {"bits_per_byte": jnp.stack(each).mean(), **measures}

    def finished(
        stats: Any, texts: jax.Array, epoch: jax.Array | int, key: jax.Array
    ) -> Lesson:
        starts = windows.spread(numbers.remembered, length)
        return windows.lesson(texts, starts, calendar.number_at(epoch) - 1, key)

    def of_batch(stats: Any, texts: jax.Array, batch: Any, key: jax.Array) -> Lesson:
        starts, number = batch
        return windows.lesson(texts, starts, number, key)

    series = Series(calendar.begins, finished, of_batch)
    return Task(
        numbers.initial, batches, {NETWORK: loss}, evaluate, TextSeries.measures, series
    )
