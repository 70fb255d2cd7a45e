"""What each data set holds, and the check that what was read is it."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Raw(NamedTuple):
    """Labelled images as read from disk.

    Attributes:
      images: uint8, shape (n, height, width, channels).
      labels: integers, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray


class Source(NamedTuple):
    """A whole data set as read from disk, and what that was, for reports."""

    train: Raw
    test: Raw
    source: str


class Spec(NamedTuple):
    """What a data set holds.

    Attributes:
      title: its name in reports and errors.
      shape: of an image, (height, width, channels).
      classes: number of them.
      train, test: number of images.
      get: a sentence that says how to get it.
      imbalance: how far the size of a class may be from the mean, relative to it.
    """

    title: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    get: str
    imbalance: float = 0.0


def get_cifar(classes: int) -> str:
    return (
        f"Get cifar-{classes}-python.tar.gz or cifar-{classes}-binary.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html, put it into a folder, unpacked "
        "or not, and name the folder: --data-dir DIR."
    )


SPECS = {
    "digits": Spec(
        "digits", (8, 8, 1), 10, 1797, 0, "Reinstall scikit-learn.", imbalance=0.05
    ),
    "fashion-mnist": Spec(
        "Fashion-MNIST",
        (28, 28, 1),
        10,
        60_000,
        10_000,
        "On Debian: apt install dataset-fashion-mnist; or get the four files from "
        "https://github.com/zalandoresearch/fashion-mnist and name their folder: "
        "--data-dir DIR.",
    ),
    "cifar10": Spec("CIFAR-10", (32, 32, 3), 10, 50_000, 10_000, get_cifar(10)),
    "cifar100": Spec("CIFAR-100", (32, 32, 3), 100, 50_000, 10_000, get_cifar(100)),
}


def md5(content: bytes) -> str:
    """As the data sets' authors publish it: it tells of damage, not of malice."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_source(spec: Spec, source: Source, where: Path) -> Source:
    """The source itself, if it holds what the data set does."""
    check(spec, "train", source.train, spec.train, where)
    check(spec, "test", source.test, spec.test, where)
    return source


def check(spec: Spec, part: str, raw: Raw, size: int, where: Path | str) -> None:
    """Raise ValueError unless the part holds `size` images of the data set."""
    problem = find_problem(spec, raw, size)
    if problem:
        raise ValueError(f"{spec.title}: {problem} in {part} from {where}. {spec.get}")


def find_problem(spec: Spec, raw: Raw, size: int) -> str | None:
    """What is wrong with the arrays, or None."""
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
