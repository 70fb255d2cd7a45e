"""What a set of labelled images holds, and the check that what was read is it."""

import hashlib
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class RawImages(NamedTuple):
    """Labelled images as read from disk.

    Attributes:
      images: uint8, shape (n, height, width, channels).
      labels: integers, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray


class RawSet(NamedTuple):
    """A whole data set as read from disk.

    Attributes:
      train: the official train part, or all images if there is no test part.
      test: the official test part; None if the data set has none.
      source: a description of what was read, for reports.
    """

    train: RawImages
    test: RawImages | None
    source: str


class ImageSpec(NamedTuple):
    """What a set of labelled images holds.

    Attributes:
      title: its name in reports and errors.
      shape: of an image, (height, width, channels).
      classes: number of classes.
      train, test: numbers of images. If the data set has no test part, `test` is how
        many of its images are held out unless the caller asks for another number.
      get: a sentence that says how to get the data set.
      imbalance: how far the size of a class may be from the mean, relative to the mean.
      normalisation: mean and standard deviation of each channel to normalise by; None
        takes those of the train split.
    """

    title: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    get: str
    imbalance: float = 0.0
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None


class Titled(Protocol):
    """What an error says of a data set: its name and how to get it."""

    @property
    def title(self) -> str: ...
    @property
    def get(self) -> str: ...


def require(spec: Titled, path: Path | None) -> Path:
    """Return the path that was named; raise FileNotFoundError if none was."""
    if path is None:
        raise FileNotFoundError(f"{spec.title}: no folder was named. {spec.get}")
    return path


def md5(content: bytes) -> str:
    """Return the checksum that data sets publish: it tells of damage, not of malice."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_set(spec: ImageSpec, found: RawSet, where: Path | str) -> None:
    """Raise ValueError unless what was read holds what the data set does."""
    if found.test is None:
        check_part(spec, "all images", found.train, spec.train + spec.test, where)
    else:
        check_part(spec, "train", found.train, spec.train, where)
        check_part(spec, "test", found.test, spec.test, where)


def check_part(
    spec: ImageSpec, part: str, raw: RawImages, size: int, where: Path | str
) -> None:
    """Raise ValueError unless a part holds `size` images of the data set."""
    problem = find_problem(spec, raw, size)
    if problem:
        raise ValueError(f"{spec.title}: {problem} in {part} from {where}. {spec.get}")


def find_problem(spec: ImageSpec, raw: RawImages, size: int) -> str | None:
    """Return what is wrong with images and labels, or None."""
    images, labels = raw
    if images.shape != (size, *spec.shape):
        return f"images of shape {images.shape}, expected {(size, *spec.shape)},"
    if labels.shape != (size,):
        return f"labels of shape {labels.shape}, expected {(size,)},"
    if labels.min() < 0 or labels.max() >= spec.classes:
        return (
            f"labels from {labels.min()} to {labels.max()}, expected 0 to "
            f"{spec.classes - 1},"
        )
    counts = np.bincount(labels, minlength=spec.classes)
    mean = size / spec.classes
    if np.abs(counts - mean).max() > spec.imbalance * mean:
        return (
            f"{counts.min()} to {counts.max()} images a class, expected about "
            f"{mean:g} of each,"
        )
    if images.min() == images.max():
        return f"nothing but pixels of value {images.min()}"
    return None
