"""Label-to-photo synthesis as pix2pix does it: a generator and a discriminator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from benchmarks.data import pairs
from benchmarks.data.pairs import Pairs, PairSet
from benchmarks.models.pix2pix import Discriminator, Generator
from benchmarks.records.score import Score, Wording
from benchmarks.tasks import pictures
from benchmarks.tasks.adversaries import (
    DISCRIMINATOR,
    GENERATOR,
    MEASURES,
    Networks,
    pix2pix,
    players_of,
    start,
)
from benchmarks.tasks.problem import Request
from benchmarks.tasks.segmentation import (
    HeldOut,
    Make,
    Reader,
    judge,
    signed,
    train_segmenter,
)
from benchmarks.training.task import Task

SHOWN = 6  # pairs in the grid of pictures


class Prepared(NamedTuple):
    """The data set with the trained network that reads photos."""

    train: Pairs
    validation: HeldOut
    test: HeldOut
    classes: int
    void: int
    source: str


@dataclass(frozen=True)
class LabelToPhoto:
    """Pairs of label maps and photos, and the networks.

    Attributes:
      data: name of the pairs, as `benchmarks.data.pairs.load` takes it.
      train: pairs to train on; None takes all of train/.
      validation: pairs held out to choose the learning rate; None takes all of val/.
      test: pairs for the final scores; None takes all of test/.
      size: pixels a side.
      width: channels of the first layers; published: 64.
      dtype: of the networks' activations.
      segmenter_width: channels of the first layer of the network that reads photos.
      segmenter_epochs: passes over the train split to train it.
    """

    data: str
    train: int | None
    validation: int | None
    test: int | None
    size: int
    width: int
    dtype: str
    segmenter_width: int
    segmenter_epochs: int

    measures: ClassVar[tuple[str, ...]] = MEASURES
    score: ClassVar[Score] = Score(
        name="miou",
        labels={
            "miou": "mean IoU of labels read back",
            "l1": "L1 distance of pixels in [0, 1]",
            "ms_ssim": "multi-scale SSIM",
            "real": "discriminator's logit, true photos",
            "fake": "discriminator's logit, synthesised photos",
            "swing": "its deviation over the steps of an epoch",
        },
        higher=True,
        tolerance=0.01,
        failed=0.1,
        axis=(0, 0.5),
        zoom=0.05,
        besides=("l1", "ms_ssim", "real", "fake", "swing"),
    )

    def read(self, data_dir: Path | None) -> PairSet:
        return pairs.load(
            self.data,
            data_dir,
            size=self.size,
            train=self.train,
            validation=self.validation,
            test=self.test,
        )

    def load(self, data_dir: Path | None) -> Prepared:
        """Trains the network that reads photos, on the train split."""
        found = self.read(data_dir)
        reader = self.reader(found.classes, found.void)
        segmenter = train_segmenter(reader, found.train, self.segmenter_epochs)
        return Prepared(
            found.train,
            HeldOut(found.validation, segmenter),
            HeldOut(found.test, segmenter),
            found.classes,
            found.void,
            found.source,
        )

    def reader(self, classes: int, void: int) -> Reader:
        return Reader(classes, void, self.segmenter_width)

    def examples(self, data_set: Prepared) -> int:
        return len(data_set.train.labels)

    def task(self, data_set: Prepared, batch_size: int) -> Task:
        reader = self.reader(data_set.classes, data_set.void)
        networks = self.networks(data_set.classes)
        return pix2pix(networks, reader, self.examples(data_set), batch_size)

    def references(self, data_set: Prepared) -> dict[str, dict[str, float]]:
        """The mean photo of the train split, and the true photos."""
        mean = signed(data_set.train.photos.mean(axis=0))
        makers: dict[str, Make] = {
            "always the mean photo": lambda index, labels, photo: (mean, {}),
            "the true photo": lambda index, labels, photo: (photo, {}),
        }
        reader = self.reader(data_set.classes, data_set.void)

        def judged(make: Make) -> dict[str, float]:
            found = jax.jit(partial(judge, reader, make=make))(data_set.test)
            return {name: float(value) for name, value in found.items()}

        return {name: judged(make) for name, make in makers.items()}

    def networks(self, classes: int) -> Networks:
        dtype = jnp.dtype(self.dtype)
        return {
            DISCRIMINATOR: lambda rngs: Discriminator(
                classes, width=self.width, dtype=dtype, rngs=rngs
            ),
            GENERATOR: lambda rngs: Generator(
                classes, size=self.size, width=self.width, dtype=dtype, rngs=rngs
            ),
        }

    def wording(self) -> Wording:
        return Wording(
            items="pairs",
            setting=f"{self.validation or 'all'} pairs of val/ for validation, "
            f"{self.test or 'all'} of test/ for test; {self.size}x{self.size} pixels,\n"
            f"width {self.width}. Mean IoU: of the label maps that a network trained "
            f"on true photos (width {self.segmenter_width},\n"
            f"{self.segmenter_epochs} epochs) reads back from the synthesised ones, "
            "without the void class. real, fake: the\ndiscriminator's mean logits of "
            "true and synthesised photos; swing: the standard deviation\nof the latter "
            "over the steps of the last epoch.",
            sampling_error="",
            failures="A pixel of a photo that is not finite is read as void.",
            near="0.01",
            zoomed="the best 0.05",
        )

    def tiny(self) -> Self:
        """A few small pairs, networks of width 2."""
        small = replace(self, train=8, validation=4, test=4, size=32, width=2)
        return replace(small, segmenter_width=2, segmenter_epochs=2)

    def abstract(self) -> Any:
        networks = self.networks(pairs.SPECS[self.data].classes)
        return jax.eval_shape(lambda: start(networks, jax.random.key(0)))

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        """Photos of test pairs at even distances, and a grid with the truth."""
        test = self.read(request.data_dir).test
        shown = min(SHOWN, len(test.labels))
        index = jnp.arange(shown) * len(test.labels) // shown
        chosen = Pairs(*(x[index] for x in test))
        classes = pairs.SPECS[self.data].classes
        players = players_of(self.networks(classes), classes)
        keys = jax.random.split(jax.random.key(request.seed), shown)

        @jax.jit
        def photos(params: Any) -> jax.Array:
            def one(labels: jax.Array, key: jax.Array) -> jax.Array:
                return players.generate(params, labels[None], key)[0]

            return jax.vmap(one)(chosen.labels, keys)

        made = {name: photos(params) for name, (params, _) in weights.items()}
        return pictures.write(request.folder, chosen, classes, made)
