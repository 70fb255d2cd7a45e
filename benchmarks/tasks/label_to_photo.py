"""Label-to-photo synthesis as pix2pix does it, with a generator and a discriminator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from benchmarks.data import pairs
from benchmarks.data.pairs import Pairs, PairSet
from benchmarks.models.pix2pix import Discriminator, Generator
from benchmarks.records.score import Score, Wording
from benchmarks.tasks import pictures
from benchmarks.tasks.gan_losses import (
    DISCRIMINATOR,
    GENERATOR,
    MEASURES,
    MakeNetworks,
    gan_of,
    initial_gan,
    pix2pix,
)
from benchmarks.tasks.problem import Request
from benchmarks.tasks.segmentation import (
    HeldOut,
    MakePhoto,
    SegmenterConfig,
    score_photos,
    signed,
    train_segmenter,
)
from benchmarks.training.task import Task

SHOWN = 6  # pairs in the grid of pictures


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs, and a segmenter that scores photos of the held-out ones.

    The segmenter is trained once, on the train split, when `validation` or `test` is
    first asked for. Reading the pairs and training on them need no segmenter.

    Attributes:
      pairs: the three splits.
      config: of the segmenter.
      epochs: passes over the train split to train the segmenter.
    """

    pairs: PairSet
    config: SegmenterConfig
    epochs: int

    @cached_property
    def segmenter(self) -> Any:
        return train_segmenter(self.config, self.pairs.train, self.epochs)

    @property
    def train(self) -> Pairs:
        return self.pairs.train

    @property
    def validation(self) -> HeldOut:
        return HeldOut(self.pairs.validation, self.segmenter)

    @property
    def test(self) -> HeldOut:
        return HeldOut(self.pairs.test, self.segmenter)

    @property
    def source(self) -> str:
        return self.pairs.source


@dataclass(frozen=True)
class LabelToPhoto:
    """The numbers of pix2pix: its pairs of label maps and photos, its networks.

    Attributes:
      data: name of the pairs, that of their module in benchmarks/data.
      train: pairs to train on; None takes all of train/.
      validation: pairs held out to choose the learning rate; None takes all of val/.
      test: pairs for the final scores; None takes all of test/.
      size: pixels a side.
      width: channels of the first layers; published: 64.
      dtype: of the networks' activations.
      segmenter_width: channels of the first layer of the segmenter, the network that
        reads label maps back from photos.
      segmenter_epochs: passes over the train split to train the segmenter.
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

    def load(self, data_dir: Path | None) -> ScoredPairs:
        found = self.read(data_dir)
        config = SegmenterConfig(found.classes, found.void, self.segmenter_width)
        return ScoredPairs(found, config, self.segmenter_epochs)

    def examples(self, data_set: ScoredPairs) -> int:
        return len(data_set.train.labels)

    def task(self, data_set: ScoredPairs, batch_size: int) -> Task:
        make = self.networks(data_set.config.classes)
        return pix2pix(make, data_set.config, self.examples(data_set), batch_size)

    def references(self, data_set: ScoredPairs) -> dict[str, dict[str, float]]:
        """Score the mean photo of the train split, and the true photos."""
        mean = signed(data_set.train.photos.mean(axis=0))
        makers: dict[str, MakePhoto] = {
            "always the mean photo": lambda index, labels, photo: (mean, {}),
            "the true photo": lambda index, labels, photo: (photo, {}),
        }

        def scores(make_photo: MakePhoto) -> dict[str, float]:
            score = partial(score_photos, data_set.config, make_photo=make_photo)
            measures = jax.jit(score)(data_set.test)
            return {name: float(value) for name, value in measures.items()}

        return {name: scores(make_photo) for name, make_photo in makers.items()}

    def networks(self, classes: int) -> MakeNetworks:
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
        """Take a few small pairs and networks of width 2."""
        small = replace(self, train=8, validation=4, test=4, size=32, width=2)
        return replace(small, segmenter_width=2, segmenter_epochs=2)

    def abstract(self) -> Any:
        make = self.networks(pairs.spec_of(self.data).classes)
        return jax.eval_shape(lambda: initial_gan(make, jax.random.key(0)))

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        """Write photos of test pairs at even distances, and a grid with the truth."""
        found = self.read(request.data_dir)
        shown = min(SHOWN, len(found.test.labels))
        index = jnp.arange(shown) * len(found.test.labels) // shown
        chosen = Pairs(*(x[index] for x in found.test))
        gan = gan_of(self.networks(found.classes), found.classes)
        keys = jax.random.split(jax.random.key(request.seed), shown)

        @jax.jit
        def photos(params: Any) -> jax.Array:
            def one(labels: jax.Array, key: jax.Array) -> jax.Array:
                return gan.generate(params, labels[None], key)[0]

            return jax.vmap(one)(chosen.labels, keys)

        made = {name: photos(params) for name, (params, _) in weights.items()}
        return pictures.write_pictures(request.folder, chosen, found.classes, made)
