"""Data sets, checked on load and split into train, validation and test.

`load` reads what is on disk and downloads nothing; an error says what to get and where
to put it. Each format has its module; `benchmarks.data.spec` says what a set holds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.data import cifar, digits, idx
from benchmarks.data.augment import crop_and_flip
from benchmarks.data.spec import SPECS, Raw, Source, Spec
from benchmarks.data.split import cut, keep

__all__ = ["DataSet", "Split", "crop_and_flip", "load"]


class Split(NamedTuple):
    """Labelled images.

    Attributes:
      images: uint8, shape (n, height, width, channels), as stored.
      labels: int32, shape (n,).
    """

    images: jax.Array
    labels: jax.Array


class DataSet(NamedTuple):
    """Three disjoint splits, and how to normalise them.

    Attributes:
      train: what the parameters are fitted to.
      validation: what the learning rate is chosen on; cut from train.
      test: for the final accuracy, once.
      classes: labels are 0 to classes - 1.
      mean, std: float32, shape (channels,), in units of the pixels, of the train split;
        0 and 16, the largest pixel, for the digits.
      source: what was read, for reports: a lossy copy is called so.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: jax.Array
    std: jax.Array
    source: str

    def normalise(self, images: jax.Array) -> jax.Array:
        """What a network sees of images of any split, float32."""
        channels = (1, 1, 1, -1)
        return (images - self.mean.reshape(channels)) / self.std.reshape(channels)


def load(
    name: str,
    data_dir: Path | None,
    *,
    validation: int,
    seed: int,
    train: int | None = None,
    test: int | None = None,
) -> DataSet:
    """Read, check and split a data set; the arrays are put on the default device.

    Args:
      name: 'digits', 'fashion-mnist', 'cifar10' or 'cifar100'.
      data_dir: the folder with the files, or for CIFAR also the archive itself. None is
        the place of Debian's package for Fashion-MNIST; the digits need none.
      validation: number of images cut from train, with equal class proportions.
      seed: of the split; the runs' seeds do not change it.
      train: number of the remaining images to keep; None keeps all.
      test: number of test images to keep; None keeps all. The digits have no official
        test set: it is the number cut off first, 360 for None.

    Raises:
      FileNotFoundError: a file is missing; says where it was looked for and how to get
        it.
      ValueError: a file holds something else than the data set, or a number of images
        is impossible.
    """
    if name not in SPECS:
        raise ValueError(f"No data set {name!r}; there is: {', '.join(SPECS)}")
    spec = SPECS[name]
    if name == "digits":
        source = digits.read(spec, 360 if test is None else test, seed)
    else:
        source = READERS[name](spec, data_dir)
        source = source._replace(test=keep(source.test, test, seed, "test"))
    rest, validation_part = cut(source.train, validation, seed, "validation")
    train_part = keep(rest, train, seed, "train")
    if name == "digits":
        mean, std = np.zeros(1), np.full(1, float(digits.MAX_PIXEL))
    else:
        mean, std = pixel_statistics(train_part.images)
    return DataSet(
        to_device(train_part),
        to_device(validation_part),
        to_device(source.test),
        classes=spec.classes,
        mean=jnp.asarray(mean, jnp.float32),
        std=jnp.asarray(std, jnp.float32),
        source=source.source,
    )


READERS: dict[str, Callable[[Spec, Path | None], Source]] = {
    "fashion-mnist": idx.read,
    "cifar10": cifar.read_cifar10,
    "cifar100": cifar.read_cifar100,
}


def pixel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, from exact integer sums."""
    pixels = images[..., 0].size
    mean = images.sum(axis=(0, 1, 2), dtype=np.int64) / pixels
    squares = np.einsum("nhwc,nhwc->c", images, images, dtype=np.int64) / pixels
    return mean, np.sqrt(squares - mean**2)


def to_device(raw: Raw) -> Split:
    return Split(jnp.asarray(raw.images), jnp.asarray(raw.labels, jnp.int32))
