"""A network that reads label maps back from photos, and what it makes of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data.augment import jitter
from benchmarks.data.pairs import Pairs
from benchmarks.models.pix2pix import initial
from benchmarks.models.segmentation import Segmenter
from benchmarks.optimizers.method import Method
from benchmarks.tasks import similarity
from benchmarks.training import loop
from benchmarks.training.task import Task, shuffled

SEGMENTER = "segmenter"
BATCH, RATE = 8, 1e-3
TOGETHER = 8  # pairs judged at once


def signed(photos: jax.Array) -> jax.Array:
    """What networks see of stored photos: [-1, 1]."""
    return photos / 127.5 - 1


class Reader(NamedTuple):
    """How to read label maps.

    Attributes:
      classes: of the label maps.
      void: the class of pixels that are left out.
      width: of the network.
    """

    classes: int
    void: int
    width: int

    def make(self, rngs: nnx.Rngs) -> Segmenter:
        return Segmenter(self.classes, width=self.width, rngs=rngs)

    def logits(self, params: Any, photos: jax.Array) -> jax.Array:
        """Shape (n, size, size, classes), of photos in [-1, 1]."""
        graph = nnx.split(nnx.eval_shape(lambda: self.make(nnx.Rngs(0))))[0]
        return nnx.merge(graph, params, copy=True)(photos)


def segmentation(reader: Reader, examples: int) -> Task:
    """Cross-entropy of the labelled pixels, photos jittered as pix2pix does.

    Args:
      reader: the network.
      examples: size of the train split.
    """

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        return {SEGMENTER: initial(reader.make, key)}, ()

    def loss(
        params: dict[str, Any], stats: Any, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        labels, photos = jitter(key, pairs.labels[index], signed(pairs.photos[index]))
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            reader.logits(params[SEGMENTER], photos), labels.astype(jnp.int32)
        )
        labelled = labels != reader.void
        mean = jnp.where(labelled, losses, 0).sum() / jnp.maximum(labelled.sum(), 1)
        return mean, (stats, {"loss": mean})

    batches = shuffled(examples, BATCH)
    return Task(init, batches, {SEGMENTER: loss}, lambda *_: {}, ("loss",))


def train_segmenter(reader: Reader, pairs: Pairs, epochs: int) -> Any:
    """Its parameters after so many passes: seed 0, Adam, the rate a cosine to 0."""
    examples = len(pairs.labels)
    task, steps = segmentation(reader, examples), epochs * (examples // BATCH)
    adam = Method(
        lambda trial: optax.adam(
            optax.cosine_decay_schedule(trial["learning_rate"], steps)
        )
    )
    methods, trials = {"adam": adam}, {"adam": {"learning_rate": jnp.full(1, RATE)}}
    seeds = jnp.zeros(1, jnp.int32)
    lanes = jax.jit(lambda: loop.init_lanes(task, methods, trials, seeds))()
    epoch = jax.jit(partial(loop.epoch, task, methods), donate_argnums=0)
    for number in range(epochs):
        lanes = epoch(lanes, pairs, trials, seeds, jnp.int32(number))
    return jax.tree.map(lambda x: x[0, 0], lanes["adam"].params[SEGMENTER])


class HeldOut(NamedTuple):
    """Pairs to judge on, and the parameters of the network that reads photos."""

    pairs: Pairs
    segmenter: Any


Found = dict[str, jax.Array]
Make = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Found]]
"""From a pair's number, its label map and its photo in [-1, 1], a photo likewise, and
what else is measured."""


def judge(reader: Reader, held_out: HeldOut, make: Make) -> Found:
    """Means over the pairs of miou, l1, ms_ssim and what else `make` measures.

    A pixel whose logits are not finite is read as void, which is an error.
    """

    def one(x: Any) -> tuple[jax.Array, Found]:
        index, labels, photo = x
        photo = signed(photo)
        made, other = make(index, labels, photo)
        logits = reader.logits(held_out.segmenter, made[None])[0]
        finite = jnp.isfinite(logits).all(axis=-1)
        read = jnp.where(finite, logits.argmax(axis=-1), reader.void)
        made, photo = (made + 1) / 2, (photo + 1) / 2
        near = {
            "l1": similarity.l1(made, photo),
            "ms_ssim": similarity.ms_ssim(made[None], photo[None])[0],
        }
        return confusion(labels, read, reader.classes), near | other

    labels, photos = held_out.pairs
    numbered = (jnp.arange(len(labels)), labels, photos)
    matrices, found = jax.lax.map(one, numbered, batch_size=TOGETHER)
    means = {name: values.mean() for name, values in found.items()}
    return means | {"miou": mean_iou(matrices.sum(axis=0), reader.void)}


def confusion(labels: jax.Array, predicted: jax.Array, classes: int) -> jax.Array:
    """How many pixels of each class (row) were called each class (column), int32."""
    cells = classes * labels.astype(jnp.int32) + predicted.astype(jnp.int32)
    counts = jnp.bincount(cells.ravel(), length=classes**2)
    return counts.reshape(classes, classes)


def mean_iou(matrix: jax.Array, void: int) -> jax.Array:
    """Intersection over union of the classes, their mean.

    Pixels that are void in truth are left out; another called void is an error. A class
    that is neither there nor called is left out of the mean.

    Args:
      matrix: as `confusion` counts it, shape (classes, classes).
      void: the class of what is not labelled.
    """
    labelled = matrix.at[void].set(0)
    right = jnp.diagonal(labelled)
    union = labelled.sum(axis=0) + labelled.sum(axis=1) - right
    counts = (union > 0).at[void].set(False)
    return jnp.where(counts, right / jnp.maximum(union, 1), 0).sum() / counts.sum()
