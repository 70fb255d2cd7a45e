"""Parts of labelled images with equal class proportions."""

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.data.spec import RawImages


def split_off(
    raw: RawImages, size: int, seed: int, part: str
) -> tuple[RawImages, RawImages]:
    """Return the rest, and `size` images that are split off; both are shuffled.

    Args:
      raw: what is split.
      size: number of images; it and what is left are at least one a class.
      seed: of the choice and the order.
      part: the name of what is split off, for the error.
    """
    n, classes = len(raw.labels), len(np.unique(raw.labels))
    if not classes <= size <= n - classes:
        raise ValueError(
            f"{part}={size} of {n} images with {classes} classes; write a number from "
            f"{classes} to {n - classes}."
        )
    rest, chosen = train_test_split(
        np.arange(n), test_size=size, random_state=seed, stratify=raw.labels
    )
    return take(raw, rest), take(raw, chosen)


def subset(raw: RawImages, size: int | None, seed: int, part: str) -> RawImages:
    """Return `size` of the images, shuffled; None returns all in their order."""
    if size is None or size == len(raw.labels):
        return raw
    return split_off(raw, size, seed, part)[1]


def take(raw: RawImages, index: np.ndarray) -> RawImages:
    return RawImages(raw.images[index], raw.labels[index])
