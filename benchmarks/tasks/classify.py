"""Image classification with cross-entropy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import models
from benchmarks.data import image_set
from benchmarks.data.augment import crop_and_flip
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.records.score import Score, Wording
from benchmarks.tasks.problem import split_model
from benchmarks.training.task import Task, shuffled

NETWORK = "network"
EVALUATED_TOGETHER = 500


@dataclass(frozen=True)
class Images:
    """The numbers of labelled images and of the network that classifies them.

    Attributes:
      data: name of the data set, that of its module in benchmarks/data.
      train: images to train on; None takes all that validation leaves.
      validation: images held out to choose the learning rate.
      test: images held out for the final accuracy; None takes the official test set.
      split_seed: of the split into train, validation and test.
      network: a name in `NETWORKS`.
      channels: of both convolutions of a small network; of a residual one, only those
        of the first stage.
      dtype: of the residual network's activations.
      augment: whether train images are cropped and flipped at random.
    """

    data: str
    train: int | None
    validation: int
    test: int | None
    split_seed: int
    network: str
    channels: tuple[int, ...]
    dtype: str
    augment: bool

    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    score: ClassVar[Score] = Score(
        name="accuracy",
        labels={
            "loss": "cross-entropy loss (nats)",
            "accuracy": "accuracy (fraction correct)",
        },
        higher=True,
        tolerance=0.01,
        failed=0.5,
        axis=(0, 1.02),
        zoom=0.05,
    )

    def load(self, data_dir: Path | None) -> ImageSet:
        return image_set.load_split(self, data_dir)

    def examples(self, data_set: ImageSet) -> int:
        return len(data_set.train.labels)

    def task(self, data_set: ImageSet, batch_size: int) -> Task:
        return self.task_of(NETWORKS[self.network], data_set, batch_size)

    def task_of(self, make: "MakeNetwork", data_set: ImageSet, batch_size: int) -> Task:
        """Return the task of a network that need not have a name in `NETWORKS`."""
        _, height, width, channels = data_set.train.images.shape
        shape = (height, width, channels)

        def normalise_and_augment(images: jax.Array, key: jax.Array) -> jax.Array:
            images = data_set.normalise(images)
            return crop_and_flip(key, images) if self.augment else images

        return classify(
            lambda rngs: make(self, shape, data_set.classes, rngs),
            data_set.normalise,
            normalise_and_augment,
            self.examples(data_set),
            batch_size,
        )

    def abstract(self) -> Any:
        spec, make = image_set.spec_of(self.data), NETWORKS[self.network]

        def network() -> nnx.Module:
            return make(self, spec.shape, spec.classes, nnx.Rngs(0))

        _, params, stats = split_model(nnx.eval_shape(network))
        return {NETWORK: params}, stats

    def references(self, data_set: ImageSet) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        error = np.sqrt(0.97 * 0.03 / self.test) if self.test else None  # binomial
        return Wording(
            items="images",
            setting=f"{self.validation} images for validation,\n"
            f"{self.test or 'the official ones'} for test; network: {self.network}, "
            f"channels {' and '.join(map(str, self.channels))}.",
            sampling_error=f", {error:.3f} at an accuracy of 0.97" if error else "",
            failures="An image with a non-finite logit counts as wrong.",
            near="a point",
            zoomed="the top 5 percentage points",
        )

    def tiny(self) -> Self:
        """Take few images and a narrow residual network; digits are small already."""
        if self.data == "digits":
            return self
        smaller = replace(self, train=200, validation=200, test=200)
        resnet = self.network.startswith("resnet")
        return replace(smaller, channels=(8,)) if resnet else smaller


MakeNetwork = Callable[[Images, tuple[int, int, int], int, nnx.Rngs], nnx.Module]


def small(first_stride: int) -> MakeNetwork:
    def make(
        e: Images, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        first, second = e.channels
        return models.SmallConvNet(
            shape, (first, second), classes, first_stride=first_stride, rngs=rngs
        )

    return make


def resnet18(
    norm: models.Norm, convolve: models.Convolve = models.convolve_by_patches
) -> MakeNetwork:
    def make(
        e: Images, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs
    ) -> nnx.Module:
        return models.ResNet18(
            classes,
            width=e.channels[0],
            norm=norm,
            in_features=shape[-1],
            convolve=convolve,
            dtype=jnp.dtype(e.dtype),
            rngs=rngs,
        )

    return make


NETWORKS: dict[str, MakeNetwork] = {
    "small": small(first_stride=1),
    "small, both strides 2": small(first_stride=2),
    "resnet18": resnet18("batch"),
    "resnet18, group norm": resnet18("group"),
    "resnet18, plain convolutions": resnet18("batch", models.convolve_by_xla),
    "resnet18, convolutions in place": resnet18("batch", models.convolve_in_place),
}
"""Functions of (the numbers, the shape of an image, the number of classes, rngs)."""


def classify(
    make_model: Callable[[nnx.Rngs], nnx.Module],
    normalise: Callable[[jax.Array], jax.Array],
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    examples: int,
    batch_size: int,
) -> Task:
    """Return the task of a network that classifies images.

    Args:
      make_model: builds a network that maps normalised images to logits.
      normalise: turns stored images into what the network sees in evaluation.
      augment: turns stored images and a key into what it sees in training.
      examples: size of the train split.
      batch_size: images a step; an epoch leaves out the last incomplete batch.
    """
    graph, _, _ = split_model(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        _, params, stats = split_model(make_model(nnx.Rngs(key)))
        return {NETWORK: params}, stats

    def loss(
        params: dict[str, Any], stats: Any, split: Split, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        model = nnx.merge(graph, params[NETWORK], stats, copy=True)
        logits = model(augment(split.images[index], key))
        measures = measure(logits, split.labels[index])
        return measures["loss"], (split_model(model)[2], measures)

    def evaluate(
        params: dict[str, Any], stats: Any, split: Split
    ) -> dict[str, jax.Array]:
        def one(image: jax.Array) -> jax.Array:
            model = nnx.merge(graph, params[NETWORK], stats, copy=True)
            model.eval()
            return model(normalise(image[jnp.newaxis]))[0]

        logits = jax.lax.map(one, split.images, batch_size=EVALUATED_TOGETHER)
        return measure(logits, split.labels)

    batches = shuffled(examples, batch_size)
    return Task(init, batches, {NETWORK: loss}, evaluate, Images.measures)


def measure(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return {"loss": losses.mean(), "accuracy": accuracy(logits, labels)}


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the fraction of correct labels; non-finite logits count as wrong."""
    finite = jnp.isfinite(logits).all(axis=-1)
    return jnp.mean((logits.argmax(axis=-1) == labels) & finite)
