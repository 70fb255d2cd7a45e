"""The segmenter: a network that reads label maps back from photos, to score photos."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data.augment import jitter
from benchmarks.data.pairs import Pairs
from benchmarks.models.pix2pix import initial_params
from benchmarks.models.segmentation import Segmenter
from benchmarks.optimizers.method import Method
from benchmarks.tasks import similarity
from benchmarks.training import loop
from benchmarks.training.task import Task, shuffled

SEGMENTER = "segmenter"
BATCH, RATE = 8, 1e-3
SCORED_TOGETHER = 8  # pairs


def signed(photos: jax.Array) -> jax.Array:
    """Scale stored photos to [-1, 1], as networks see them."""
    return photos / 127.5 - 1


class SegmenterConfig(NamedTuple):
    """The numbers of a segmenter.

    Attributes:
      classes: number of classes of the label maps.
      void: the class of pixels that are not labelled, which are left out.
      width: of the network.
    """

    classes: int
    void: int
    width: int

    def make(self, rngs: nnx.Rngs) -> Segmenter:
        return Segmenter(self.classes, width=self.width, rngs=rngs)

    def logits(self, params: Any, photos: jax.Array) -> jax.Array:
        """Return logits (n, size, size, classes) of photos in [-1, 1]."""
        graph = nnx.split(nnx.eval_shape(lambda: self.make(nnx.Rngs(0))))[0]
        return nnx.merge(graph, params, copy=True)(photos)


def segmentation(config: SegmenterConfig, examples: int) -> Task:
    """Return the task of a segmenter: the cross-entropy of the labelled pixels.

    Pairs are jittered as pix2pix does.

    Args:
      config: of the segmenter.
      examples: size of the train split.
    """

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        return {SEGMENTER: initial_params(config.make, key)}, ()

    def loss(
        params: dict[str, Any], stats: Any, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        labels, photos = jitter(key, pairs.labels[index], signed(pairs.photos[index]))
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            config.logits(params[SEGMENTER], photos), labels.astype(jnp.int32)
        )
        labelled = labels != config.void
        mean = jnp.where(labelled, losses, 0).sum() / jnp.maximum(labelled.sum(), 1)
        return mean, (stats, {"loss": mean})

    batches = shuffled(examples, BATCH)
    return Task(init, batches, {SEGMENTER: loss}, lambda *_: {}, ("loss",))


def train_segmenter(config: SegmenterConfig, pairs: Pairs, epochs: int) -> Any:
    """Train a segmenter with Adam, seed 0 and a cosine to 0; return its parameters."""
    examples = len(pairs.labels)
    task, steps = segmentation(config, examples), epochs * (examples // BATCH)
    adam = Method(
        lambda numbers: optax.adam(
            optax.cosine_decay_schedule(numbers["learning_rate"], steps)
        )
    )
    methods = {"adam": adam}
    numbers = {"adam": {"learning_rate": jnp.full(1, RATE)}}
    seeds = jnp.zeros(1, jnp.int32)
    lanes = jax.jit(lambda: loop.init_lanes(task, methods, numbers, seeds))()
    epoch = jax.jit(partial(loop.epoch, task, methods), donate_argnums=0)
    for number in range(epochs):
        lanes = epoch(lanes, pairs, numbers, seeds, jnp.int32(number))
    return jax.tree.map(lambda x: x[0, 0], lanes["adam"].params[SEGMENTER])


class HeldOut(NamedTuple):
    """Pairs to score photos of, and the segmenter's parameters."""

    pairs: Pairs
    segmenter: Any


Measures = dict[str, jax.Array]
MakePhoto = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Measures]]
"""Takes a pair's number, its label map and its photo in [-1, 1]; returns a photo that
is scored against that one, and further measures."""


def score_photos(
    config: SegmenterConfig, held_out: HeldOut, make_photo: MakePhoto
) -> Measures:
    """Average miou, l1, ms_ssim and the measures of `make_photo` over the pairs.

    A pixel whose logits are not finite is read as void, which counts as an error.
    """

    def one(x: Any) -> tuple[jax.Array, Measures]:
        index, labels, photo = x
        photo = signed(photo)
        made, other = make_photo(index, labels, photo)
        logits = config.logits(held_out.segmenter, made[None])[0]
        finite = jnp.isfinite(logits).all(axis=-1)
        read = jnp.where(finite, logits.argmax(axis=-1), config.void)
        made, photo = (made + 1) / 2, (photo + 1) / 2
        near = {
            "l1": similarity.l1(made, photo),
            "ms_ssim": similarity.ms_ssim(made[None], photo[None])[0],
        }
        return confusion(labels, read, config.classes), near | other

    labels, photos = held_out.pairs
    numbered = (jnp.arange(len(labels)), labels, photos)
    matrices, measures = jax.lax.map(one, numbered, batch_size=SCORED_TOGETHER)
    means = {name: values.mean() for name, values in measures.items()}
    return means | {"miou": mean_iou(matrices.sum(axis=0), config.void)}


def confusion(labels: jax.Array, predicted: jax.Array, classes: int) -> jax.Array:
    """Count the pixels of each class (row) that were read as each class (column)."""
    cells = classes * labels.astype(jnp.int32) + predicted.astype(jnp.int32)
    counts = jnp.bincount(cells.ravel(), length=classes**2)
    return counts.reshape(classes, classes)


def mean_iou(matrix: jax.Array, void: int) -> jax.Array:
    """Average the intersection over union of the classes.

    Pixels that are void in truth are left out; another read as void counts as an error.
    A class that is neither there nor read is left out of the mean.

    Args:
      matrix: as `confusion` counts it, shape (classes, classes).
      void: the class of pixels that are not labelled.
    """
    labelled = matrix.at[void].set(0)
    right = jnp.diagonal(labelled)
    union = labelled.sum(axis=0) + labelled.sum(axis=1) - right
    counts = (union > 0).at[void].set(False)
    return jnp.where(counts, right / jnp.maximum(union, 1), 0).sum() / counts.sum()
