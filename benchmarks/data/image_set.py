"""Labelled images: read, checked, split with equal class proportions, normalised."""

from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import data
from benchmarks.data.spec import ImageSpec, RawImages, check_set
from benchmarks.data.split import split_off, subset


class Split(NamedTuple):
    """Labelled images on the device.

    Attributes:
      images: uint8, shape (n, height, width, channels), as stored.
      labels: int32, shape (n,).
    """

    images: jax.Array
    labels: jax.Array


class ImageSet(NamedTuple):
    """Three disjoint splits, and how to normalise them.

    Attributes:
      train: what the parameters are fitted to.
      validation: what the learning rate is chosen on; cut from the official train part.
      test: for the final accuracy, used once.
      classes: number of classes; labels are 0 to classes - 1.
      mean, std: float32, shape (channels,), in units of the pixels: those of the train
        split, unless the data set names others.
      source: a description of what was read, for reports; it names a lossy copy so.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: jax.Array
    std: jax.Array
    source: str

    def normalise(self, images: jax.Array) -> jax.Array:
        """Return images of any split as a network sees them, in float32."""
        channels = (1, 1, 1, -1)
        return (images - self.mean.reshape(channels)) / self.std.reshape(channels)


class Numbers(Protocol):
    """Name what a task says of the images that it takes; `load` explains it."""

    @property
    def data(self) -> str: ...
    @property
    def train(self) -> int | None: ...
    @property
    def validation(self) -> int: ...
    @property
    def test(self) -> int | None: ...
    @property
    def split_seed(self) -> int: ...


def spec_of(name: str) -> ImageSpec:
    """Return what a data set of labelled images holds, without reading it."""
    spec: ImageSpec = data.find(name, ImageSpec).SPEC
    return spec


def load_split(numbers: Numbers, data_dir: Path | None) -> ImageSet:
    """Read a data set and split it as the numbers of a task say."""
    return load(
        numbers.data,
        data_dir,
        train=numbers.train,
        validation=numbers.validation,
        test=numbers.test,
        seed=numbers.split_seed,
    )


def load(
    name: str,
    data_dir: Path | None,
    *,
    validation: int,
    seed: int,
    train: int | None = None,
    test: int | None = None,
) -> ImageSet:
    """Read, check and split a data set; the arrays are put on the default device.

    Args:
      name: of a data set of labelled images, such as 'digits' or 'cifar10'.
      data_dir: the folder with the files, or for CIFAR also the archive itself. None is
        the place of Debian's package for Fashion-MNIST; the digits need none.
      validation: number of images cut from train, with equal class proportions.
      seed: of the split; the runs' seeds do not change it.
      train: number of the remaining images to keep; None keeps all.
      test: number of test images to keep; None keeps all. The digits have no official
        test part: this number is cut off first, 360 images if it is None.

    Raises:
      FileNotFoundError: a file is missing; the message says where it was looked for and
        how to get it.
      ValueError: a file holds something else than the data set, or a number of images
        is impossible.
    """
    module = data.find(name, ImageSpec)
    spec, found = module.SPEC, module.read(data_dir)
    check_set(spec, found, data_dir or found.source)
    if found.test is None:
        number = spec.test if test is None else test
        official, test_part = split_off(found.train, number, seed, "test")
    else:
        official, test_part = found.train, subset(found.test, test, seed, "test")
    rest, validation_part = split_off(official, validation, seed, "validation")
    train_part = subset(rest, train, seed, "train")
    mean, std = spec.normalisation or pixel_statistics(train_part.images)
    return ImageSet(
        to_device(train_part),
        to_device(validation_part),
        to_device(test_part),
        classes=spec.classes,
        mean=jnp.asarray(mean, jnp.float32),
        std=jnp.asarray(std, jnp.float32),
        source=found.source,
    )


def pixel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation of each channel, from exact integer sums."""
    pixels = images[..., 0].size
    mean = images.sum(axis=(0, 1, 2), dtype=np.int64) / pixels
    squares = np.einsum("nhwc,nhwc->c", images, images, dtype=np.int64) / pixels
    return mean, np.sqrt(squares - mean**2)


def to_device(raw: RawImages) -> Split:
    return Split(jnp.asarray(raw.images), jnp.asarray(raw.labels, jnp.int32))
