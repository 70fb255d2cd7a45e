"""Tasks one after the other on one network, which is then asked of all of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import models
from benchmarks.data import image_set
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.optimizers.method import Lesson
from benchmarks.records.score import Score, Wording
from benchmarks.tasks import classify
from benchmarks.tasks.classify import EVALUATED_TOGETHER, NETWORK
from benchmarks.tasks.problem import split_model
from benchmarks.training.series import Calendar
from benchmarks.training.task import Series, Task


@dataclass(frozen=True)
class Continual:
    """The numbers of tasks in series, made from labelled images, and of the network.

    The network has one output for each class of all tasks. It is never told which task
    an image is of.

    Attributes:
      data: name of the data set, that of its module in benchmarks/data.
      train: images to train on; None takes all that validation leaves.
      validation: images held out to choose by.
      test: images held out for the final measures; None takes the official test set.
      split_seed: of the split into train, validation and test.
      hidden: units of the hidden layer; of a residual network, channels of its first
        stage.
      differ: by what tasks differ. By pixels: all see all images, from the second on in
        another order of the pixels, which the run's seed draws. By classes: each has an
        equal part of the classes, in their order.
      tasks: their number.
      epochs_each: epochs for each task; further epochs are of the last one.
      kind: of the network. A residual one has GroupNorm: statistics of BatchNorm would
        be the last task's, and a part of what is forgotten.
      dtype: of the residual network's activations.
    """

    data: str
    train: int | None
    validation: int
    test: int | None
    split_seed: int
    hidden: int
    differ: Literal["pixels", "classes"]
    tasks: int
    epochs_each: int
    kind: Literal["dense", "resnet18"] = "dense"
    dtype: str = "float32"

    measures: ClassVar[tuple[str, ...]] = ("loss", "accuracy")

    @property
    def score(self) -> Score:
        """Return the mean accuracy of all tasks, beside the measures of each."""
        labels = {"accuracy": "mean accuracy of all tasks (fraction correct)"}
        for number in range(1, self.tasks + 1):
            labels[f"loss_{number}"] = f"cross-entropy loss of task {number} (nats)"
            labels[f"accuracy_{number}"] = f"accuracy of task {number}"
        return Score(
            name="accuracy",
            labels=labels,
            higher=True,
            tolerance=0.01,
            failed=0.3,
            axis=(0, 1.02),
            zoom=0.1,
        )

    def load(self, data_dir: Path | None) -> ImageSet:
        return image_set.load_split(self, data_dir)

    def examples(self, data_set: ImageSet) -> int:
        """Return the number of train images of one task."""
        return self.places(data_set).shape[1]

    def places(self, data_set: ImageSet) -> np.ndarray:
        """Return the places of each task's images in the train split, a row a task."""
        labels = np.asarray(data_set.train.labels)
        if self.differ == "pixels":
            return np.tile(np.arange(len(labels)), (self.tasks, 1))
        own = [self.is_of(number, labels, data_set) for number in range(self.tasks)]
        size = min(int(each.sum()) for each in own)
        return np.stack([np.flatnonzero(each)[:size] for each in own])

    def is_of(self, number: Any, labels: Any, data_set: ImageSet) -> Any:
        """Say which labels a task has."""
        if self.differ == "pixels":
            return labels >= 0
        return labels // (data_set.classes // self.tasks) == number

    def task(self, data_set: ImageSet, batch_size: int) -> Task:
        return in_series(self, data_set, batch_size)

    def network(self, shape: tuple[int, ...], classes: int, key: Any) -> nnx.Module:
        """Return the network for images of a shape, with height, width and channels."""
        rngs = nnx.Rngs(key)
        if self.kind == "dense":
            return models.DenseNet(math.prod(shape), self.hidden, classes, rngs=rngs)
        return models.ResNet18(
            classes,
            width=self.hidden,
            norm="group",
            in_features=shape[-1],
            dtype=jnp.dtype(self.dtype),
            rngs=rngs,
        )

    def abstract(self) -> Any:
        spec = image_set.spec_of(self.data)
        return jax.eval_shape(
            lambda: self.initial(spec.shape, spec.classes, jax.random.key(0))
        )

    def initial(
        self, shape: tuple[int, ...], classes: int, key: jax.Array
    ) -> tuple[dict[str, Any], Any]:
        """Return parameters by player, and the orders of the pixels."""
        model = self.network(shape, classes, jax.random.fold_in(key, 0))
        places = jnp.arange(math.prod(shape))
        keys = jax.random.split(jax.random.fold_in(key, 1), self.tasks - 1)
        drawn = jax.vmap(jax.random.permutation, (0, None))(keys, places)
        orders = jnp.concatenate([places[None], drawn])
        return {NETWORK: nnx.state(model)}, orders if self.differ == "pixels" else ()

    def references(self, data_set: ImageSet) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        each = {
            "pixels": "from the second on with the pixels in another order, drawn from "
            "the seed",
            "classes": "each with its own classes; one head, and no task is named",
        }
        networks = {
            "dense": f"dense, {self.hidden} hidden units",
            "resnet18": f"resnet18, GroupNorm, channels {self.hidden}, {self.dtype}",
        }
        return Wording(
            items="images",
            setting=f"{self.validation} images for validation,\n"
            f"{self.test or 'the official ones'} for test; {self.tasks} tasks, "
            f"{each[self.differ]};\n{self.epochs_each} epochs each; network: "
            f"{networks[self.kind]}.",
            sampling_error="",
            failures="An image with a non-finite logit counts as wrong.",
            near="a point",
            zoomed="the top 10 percentage points",
        )

    def tiny(self) -> Self:
        """Take two tasks of an epoch, and few images; digits are few already."""
        smaller = replace(self, tasks=2, epochs_each=1)
        if self.kind == "resnet18":
            smaller = replace(smaller, hidden=8)
        if self.data == "digits":
            return smaller
        return replace(smaller, train=200, validation=200, test=200)


class Views(NamedTuple):
    """How the tasks see images, and what a network says of them.

    Attributes:
      problem: the numbers.
      data_set: gives the normalisation and the number of classes.
      graph: the network without its parameters.
    """

    problem: Continual
    data_set: ImageSet
    graph: nnx.GraphDef[Any]

    def inputs(self, orders: Any, images: jax.Array, number: Any) -> jax.Array:
        """Return images as the network gets them in a task.

        Their shape is (n, pixels), for a residual network that of images.
        """
        shape = images.shape if self.problem.kind == "resnet18" else (len(images), -1)
        flat = self.data_set.normalise(images).reshape(len(images), -1)
        if self.problem.differ == "classes":
            return flat.reshape(shape)
        order = orders[number].reshape(-1, flat.shape[1])
        return jnp.take_along_axis(flat, order, 1).reshape(shape)

    def outputs(self, params: Any, inputs: jax.Array) -> jax.Array:
        """Return the network's logits."""
        model: Callable[[jax.Array], jax.Array] = nnx.merge(self.graph, params)
        return model(inputs)

    def answers(self, params: Any, orders: Any, images: jax.Array) -> list[jax.Array]:
        """Return the logits of images in each task.

        Where tasks differ by classes, all see the same images.
        """

        def of_task(number: int) -> jax.Array:
            inputs = self.inputs(orders, images, number)
            return jax.lax.map(
                lambda one: self.outputs(params, one[jnp.newaxis])[0],
                inputs,
                batch_size=EVALUATED_TOGETHER,
            )

        tasks = self.problem.tasks
        if self.problem.differ == "classes":
            return [of_task(0)] * tasks
        return [of_task(number) for number in range(tasks)]

    def lesson(
        self, orders: Any, data: Split, index: jax.Array, number: Any, key: jax.Array
    ) -> Lesson:
        """Return train images of a task as methods see them."""
        places = jnp.asarray(self.problem.places(self.data_set))

        def recall(tasks: jax.Array, at: jax.Array) -> tuple[jax.Array, jax.Array]:
            kept = places[tasks, at]
            return self.inputs(orders, data.images[kept], tasks), data.labels[kept]

        inputs = self.inputs(orders, data.images[index], number)
        return Lesson(self.outputs, inputs, data.labels[index], recall, key)


def in_series(problem: Continual, data_set: ImageSet, batch_size: int) -> Task:
    """Return the tasks in series as the training loop calls them.

    The statistics are the orders of the pixels, shape (tasks, pixels), where tasks
    differ by them. A batch is places in the train split and the number of the task.
    """
    shape, classes = data_set.train.images.shape[1:], data_set.classes
    graph, _, _ = split_model(
        nnx.eval_shape(lambda: problem.network(shape, classes, 0))
    )
    views = Views(problem, data_set, graph)
    places = jnp.asarray(problem.places(data_set))
    calendar = Calendar(problem.tasks, problem.epochs_each)
    size = places.shape[1]

    def init(key: jax.Array) -> tuple[dict[str, Any], Any]:
        return problem.initial(shape, classes, key)

    def batches(key: jax.Array, epoch: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        order = jax.random.permutation(jax.random.fold_in(key, epoch), size)
        steps, number = size // batch_size, calendar.number_at(epoch)
        index = places[number, order[: steps * batch_size]].reshape(steps, -1)
        return index, jnp.full(steps, number)

    def loss(
        params: dict[str, Any], orders: Any, split: Split, batch: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        index, number = batch
        inputs = views.inputs(orders, split.images[index], number)
        logits = views.outputs(params[NETWORK], inputs)
        measures = classify.measure(logits, split.labels[index])
        return measures["loss"], (orders, measures)

    def evaluate(
        params: dict[str, Any], orders: Any, split: Split
    ) -> dict[str, jax.Array]:
        measures, accuracies = {}, []
        answers = views.answers(params[NETWORK], orders, split.images)
        for number, logits in enumerate(answers):
            own = problem.is_of(number, split.labels, data_set)
            mean_loss, accuracy = masked(logits, split.labels, own)
            accuracies.append(accuracy)
            measures[f"loss_{number + 1}"] = mean_loss
            measures[f"accuracy_{number + 1}"] = accuracy
        return {"accuracy": jnp.stack(accuracies).mean(), **measures}

    def finished(
        orders: Any, data: Split, epoch: jax.Array | int, key: jax.Array
    ) -> Lesson:
        number = calendar.number_at(epoch) - 1
        return views.lesson(orders, data, places[number], number, key)

    def of_batch(orders: Any, data: Split, batch: Any, key: jax.Array) -> Lesson:
        index, number = batch
        return views.lesson(orders, data, index, number, key)

    series = Series(calendar.begins, finished, of_batch)
    return Task(init, batches, {NETWORK: loss}, evaluate, Continual.measures, series)


def masked(
    logits: jax.Array, labels: jax.Array, own: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return mean loss and accuracy over the images that are a task's own."""
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    right = (logits.argmax(axis=-1) == labels) & jnp.isfinite(logits).all(axis=-1)
    return jnp.mean(losses, where=own), jnp.mean(right, where=own)
