"""Images with new random labels in each task: does a network stay able to learn?

It is the problem "random label" of Kumar et al., "Maintaining Plasticity in Continual
Learning via Regenerative Regularization", https://arxiv.org/abs/2308.11958, in small.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import models
from benchmarks.data import image_set
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.records.score import Score, Wording
from benchmarks.tasks import classify
from benchmarks.tasks.classify import NETWORK
from benchmarks.training.task import Task

PARTS = 10  # of the series, for a figure


@dataclass(frozen=True)
class RandomLabels:
    """The numbers of tasks in series on the same images, and of the network.

    A seed draws its images once, and for each task a label for each image. An epoch of
    the experiment is a task. The network is dense, and nobody resets it.

    Attributes:
      data: name of the data set, that of its module in benchmarks/data.
      train: images of which a seed draws its own; None takes all.
      validation: images held out; nothing is measured on them.
      test: images held out; nothing is measured on them.
      split_seed: of the split into train, validation and test.
      images: their number in a task.
      pooled: pixels a side of the squares that are averaged to one input.
      hidden: units of each hidden layer.
      tasks: their number, an epoch each.
      passes: how often a task shows each image.
    """

    data: str
    train: int | None
    validation: int
    test: int
    split_seed: int
    images: int
    pooled: int
    hidden: tuple[int, ...]
    tasks: int
    passes: int

    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")

    @property
    def score(self) -> Score:
        """Return the mean online accuracy, beside that of parts of the series."""
        labels = {
            "online_accuracy": "online accuracy (fraction correct)",
            "last_fifth": "last fifth of the tasks",
        }
        for number, part in enumerate(self.parts, 1):
            labels[f"part_{number}"] = f"tasks {part[0] + 1} to {part[-1] + 1}"
        return Score(
            name="online_accuracy",
            labels=labels,
            higher=True,
            tolerance=0.01,
            failed=0.15,
            axis=(0, 1.02),
            zoom=0.1,
        )

    @property
    def parts(self) -> list[np.ndarray]:
        """Return the tasks, from 0, of each part of the series."""
        return np.array_split(np.arange(self.tasks), min(PARTS, self.tasks))

    def load(self, data_dir: Path | None) -> ImageSet:
        """Read the data; images are what the network gets, shape (n, inputs)."""
        found = image_set.load_split(self, data_dir)

        def seen(split: Split) -> Split:
            return split._replace(images=self.inputs(found.normalise(split.images)))

        return found._replace(
            train=seen(found.train),
            validation=seen(found.validation),
            test=seen(found.test),
        )

    def examples(self, data_set: ImageSet) -> int:
        """Return the number of images that a task shows, in all its passes."""
        del data_set
        return self.passes * self.images

    def task(self, data_set: ImageSet, batch_size: int) -> Task:
        return random_labels(self, data_set, batch_size)

    def abstract(self) -> Any:
        spec = image_set.spec_of(self.data)
        inputs = math.prod(spec.shape) // self.pooled**2
        key = jax.random.key(0)
        return jax.eval_shape(lambda: self.initial(inputs, spec.classes, key))

    def initial(
        self, inputs: int, classes: int, key: jax.Array
    ) -> tuple[dict[str, Any], jax.Array]:
        """Return parameters by player, and an online accuracy of 0 of each task."""
        layers = models.draw_layers(key, (inputs, *self.hidden, classes))
        return {NETWORK: layers}, jnp.zeros(self.tasks)

    def inputs(self, images: jax.Array) -> jax.Array:
        """Return the means of squares of normalised images, shape (n, inputs)."""
        n, height, width, channels = images.shape
        side = self.pooled
        squares = (n, height // side, side, width // side, side, channels)
        return images.reshape(squares).mean(axis=(2, 4)).reshape(n, -1)

    def references(self, data_set: ImageSet) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        hidden = " and ".join(map(str, self.hidden))
        return Wording(
            items="images",
            setting=f"{self.tasks} tasks, an epoch each:\n{self.images} images of a "
            f"seed, shown {self.passes} times, with new random labels in each task;\n"
            f"network: dense, {hidden} hidden units, on means of {self.pooled} x "
            f"{self.pooled} pixels.",
            sampling_error="",
            failures="An image with a non-finite logit counts as wrong.",
            near="a point",
            zoomed="the top 10 percentage points",
        )

    def tiny(self) -> Self:
        """Take two tasks of two passes on few images."""
        return replace(self, train=100, images=40, tasks=2, passes=2)


def random_labels(problem: RandomLabels, data_set: ImageSet, batch_size: int) -> Task:
    """Return the tasks in series as the training loop calls them.

    The statistics are the online accuracy of each task: the mean over its batches of
    the accuracy before the update. A batch is places in the train split, the labels
    and the number of the task.
    """
    inputs = data_set.train.images.shape[1]
    steps, last = problem.examples(data_set) // batch_size, problem.tasks - 1

    def init(key: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        return problem.initial(inputs, data_set.classes, key)

    def batches(key: jax.Array, epoch: jax.Array | int) -> Any:
        of_images, of_tasks = jax.random.split(key)
        of_labels, of_order = jax.random.split(jax.random.fold_in(of_tasks, epoch))
        all_places = jax.random.permutation(of_images, len(data_set.train.labels))
        places = all_places[: problem.images]
        labels = jax.random.randint(of_labels, (problem.images,), 0, data_set.classes)
        keys = jax.random.split(of_order, problem.passes)
        orders = jax.vmap(jax.random.permutation, (0, None))(keys, problem.images)
        shown = orders.ravel()[: steps * batch_size].reshape(steps, batch_size)
        number = jnp.full(steps, jnp.minimum(epoch, last))
        return places[shown], labels[shown], number

    def loss(
        params: dict[str, Any], online: jax.Array, split: Split, batch: Any, key: Any
    ) -> tuple[jax.Array, tuple[jax.Array, dict[str, jax.Array]]]:
        places, labels, number = batch
        logits = models.apply_layers(params[NETWORK], split.images[places])
        measures = classify.measure(logits, labels)
        online = online.at[number].add(measures["accuracy"] / steps)
        return measures["loss"], (online, measures)

    def evaluate(
        params: dict[str, Any], online: jax.Array, split: Split
    ) -> dict[str, jax.Array]:
        late = online[-max(1, problem.tasks // 5) :]
        found = {"online_accuracy": online.mean(), "last_fifth": late.mean()}
        for number, part in enumerate(problem.parts, 1):
            found[f"part_{number}"] = online[part].mean()
        return found

    return Task(init, batches, {NETWORK: loss}, evaluate, RandomLabels.measures)
