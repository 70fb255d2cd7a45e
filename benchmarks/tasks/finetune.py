"""A pretrained language model that learns a new text, and is asked of what it knew."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.data import pretrained
from benchmarks.data.pretrained import Lessons, Pretrained, Scored
from benchmarks.models.llama import SHAPES, Llama
from benchmarks.optimizers.method import Lesson
from benchmarks.records.score import Score, Wording
from benchmarks.tasks.language import NETWORK, UNIFORM, known_bits
from benchmarks.training.series import Calendar
from benchmarks.training.task import Series, Task

ENDS = {"old": "1", "new": "2", "own": "own"}
"""How the measures of each text end."""
SCORED_TOGETHER = 4  # windows


@dataclass(frozen=True)
class Finetune:
    """The numbers of a pretrained network's fine-tuning.

    It is two tasks: the old one was learned before, elsewhere, and nothing is trained
    in its epoch; the new text is the other. A finished lesson of the old task is what
    the network itself wrote, as its data are not there.

    Attributes:
      shape: of the network, a name in `benchmarks.models.llama.SHAPES`.
      context: number of tokens that a window predicts.
      windows: number of windows in an epoch, cut out of the new text at random.
      scored: number of windows of each text that are scored, in either split.
      own: number of texts of the network's own that methods may look at or keep.
      dtype: of the activations; parameters are float32.
      weights: read them from a file, or draw small ones.
      tasks: 2.
      epochs_each: epochs of the old task; all others are of the new one.
      data: names what is read.
      train: always None, the whole new text.
    """

    shape: str
    context: int
    windows: int
    scored: int
    own: int
    dtype: str
    weights: Literal["of a file", "drawn"] = "of a file"
    tasks: int = 2
    epochs_each: int = 1
    data: str = "a pretrained network"
    train: None = None

    measures: ClassVar[tuple[str, ...]] = ("loss", "bits_per_byte")

    @property
    def score(self) -> Score:
        """Return the mean bits per byte of old and new, beside those of each text."""
        texts = {"old": "the old text", "new": "the new text", "own": "own samples"}
        labels = {"bits_per_byte": "mean bits per byte of old and new text"}
        for name, end in ENDS.items():
            labels[f"loss_{end}"] = f"nats a byte of {texts[name]}"
            labels[f"bits_per_byte_{end}"] = f"bits per byte of {texts[name]}"
        return Score(
            name="bits_per_byte",
            labels=labels,
            higher=False,
            tolerance=0.02,
            failed=3.0,
            axis=(0.5, UNIFORM),
            zoom=0.2,
        )

    def load(self, data_dir: Path | None) -> Pretrained:
        sizes, shape = (self.context, self.own, self.scored), SHAPES[self.shape]
        if self.weights == "drawn":
            return pretrained.drawn(shapes_of(self.network().like), *sizes)
        numbers = shape.heads, shape.kv_heads, shape.rotary_base, shape.epsilon
        return pretrained.load(data_dir, pretrained.Numbers(*numbers), *sizes)

    def examples(self, data_set: Pretrained) -> int:
        return self.windows

    def task(self, data_set: Pretrained, batch_size: int) -> Task:
        return finetune(self, data_set, batch_size)

    def network(self) -> "Network":
        def made() -> Llama:
            dtype = jnp.dtype(self.dtype)
            return Llama(SHAPES[self.shape], dtype=dtype, rngs=nnx.Rngs(0))

        return Network(*nnx.split(nnx.eval_shape(made)))

    def abstract(self) -> Any:
        return {NETWORK: self.network().like}, ()

    def references(self, data_set: Pretrained) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        return Wording(
            items="windows",
            setting=f"the last tenth of the\nnew text for test, the tenth before it "
            f"for validation, of the old text its halves;\n{self.scored} windows of "
            f"{self.context} tokens of each text, new, old and the network's own;\n"
            f"network: pretrained, {self.dtype}.",
            sampling_error="",
            failures="More than 8 bits, or none that are finite, count as 8.",
            near="0.02 bits",
            zoomed="within a fifth of a bit of the best",
        )

    def tiny(self) -> Self:
        """Take a tiny network of random weights and few short windows."""
        few = replace(self, shape="tiny", context=8, windows=32, scored=3, own=4)
        return replace(few, dtype="float32", weights="drawn")


class Network(NamedTuple):
    """The network without its parameters, and what it says of windows.

    Attributes:
      graph: its structure.
      like: shapes of its parameters.
    """

    graph: nnx.GraphDef[Any]
    like: Any

    def outputs(self, params: Any, inputs: jax.Array) -> jax.Array:
        """Return the logits of the next token at each place."""
        model: Callable[[jax.Array], jax.Array] = nnx.merge(self.graph, params)
        return model(inputs)

    def nats(self, params: Any, windows: jax.Array) -> jax.Array:
        """Return the nats of every token but the first of each window."""
        loss = optax.losses.softmax_cross_entropy_with_integer_labels
        return loss(self.outputs(params, windows[:, :-1]), windows[:, 1:])

    def a_byte(self, params: Any, windows: jax.Array, sizes: jax.Array) -> jax.Array:
        """Return the mean nats of a byte of the text that windows predict."""

        def one(window: jax.Array) -> jax.Array:
            return self.nats(params, window[jnp.newaxis]).sum()

        nats: jax.Array = jax.lax.map(one, windows, batch_size=SCORED_TOGETHER)
        return nats.sum() / sizes[windows[:, 1:]].sum()

    def lesson(self, data: Lessons, windows: jax.Array, key: jax.Array) -> Lesson:
        """Return windows as methods see them; they keep texts of the network's own."""

        def recall(tasks: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
            return data.own[at, :-1], data.own[at, 1:]

        return Lesson(self.outputs, windows[:, :-1], windows[:, 1:], recall, key)


def shapes_of(like: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the shapes of parameters by their paths."""
    return {tuple(map(str, path)): x.shape for path, x in nnx.to_flat_state(like)}


def weights(like: Any, params: dict[tuple[str, ...], np.ndarray]) -> Any:
    """Return the parameters in the network's structure, brought from the host.

    Traced, they are no constants of the program, which would hold all of them.

    Raises:
      ValueError: the parameters are of another network.
    """
    wanted, given = shapes_of(like), {path: x.shape for path, x in params.items()}
    if other := sorted(map(str, wanted.items() ^ given.items())):
        raise ValueError(f"The parameters are of another network: {other[0]}.")
    leaves, structure = jax.tree.flatten(like)
    arrays = [params[path] for path in wanted]
    return jax.tree.unflatten(structure, jax.pure_callback(lambda: arrays, leaves))


def finetune(numbers: Finetune, data_set: Pretrained, batch_size: int) -> Task:
    """Return the fine-tuning as the training loop calls it.

    There are no statistics. A batch is windows, as starts in the new text.
    """
    model = numbers.network()
    steps, context = numbers.windows // batch_size, numbers.context
    last = len(data_set.train.tokens) - context

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        return {NETWORK: weights(model.like, data_set.params)}, ()

    def batches(key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        key = jax.random.fold_in(key, epoch)
        return jax.random.randint(key, (steps, batch_size), 0, last)

    def cut(data: Lessons, starts: jax.Array) -> jax.Array:
        window = jnp.arange(context + 1)[jnp.newaxis]
        found: jax.Array = data.tokens[starts[:, jnp.newaxis] + window]
        return found

    def loss(
        params: dict[str, Any], stats: Any, data: Lessons, starts: jax.Array, key: Any
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        windows = cut(data, starts)
        nats = model.nats(params[NETWORK], windows)
        bits = nats.sum() / data.sizes[windows[:, 1:]].sum() / jnp.log(2)
        return nats.mean(), (stats, {"loss": nats.mean(), "bits_per_byte": bits})

    def evaluate(
        params: dict[str, Any], stats: Any, split: Scored
    ) -> dict[str, jax.Array]:
        measures = {}
        for name, end in ENDS.items():
            nats = model.a_byte(params[NETWORK], split.windows[name], split.sizes)
            measures[f"loss_{end}"] = nats
            measures[f"bits_per_byte_{end}"] = known_bits(nats)
        both = measures["bits_per_byte_1"] + measures["bits_per_byte_2"]
        return {"bits_per_byte": both / 2, **measures}

    def finished(stats: Any, data: Lessons, epoch: Any, key: jax.Array) -> Lesson:
        return model.lesson(data, data.own, key)

    def of_batch(stats: Any, data: Lessons, starts: Any, key: jax.Array) -> Lesson:
        return model.lesson(data, cut(data, starts), key)

    begins = Calendar(numbers.tasks, numbers.epochs_each).begins
    series = Series(begins, finished, of_batch)
    return Task(init, batches, {NETWORK: loss}, evaluate, Finetune.measures, series)
