"""Parts of a data set with equal class proportions."""

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.data.spec import Raw


def cut(raw: Raw, size: int, seed: int, part: str) -> tuple[Raw, Raw]:
    """The rest, and `size` images cut off; both shuffled.

    Args:
      raw: what is cut.
      size: number of images; it and what is left are at least one a class.
      seed: of the choice and the order.
      part: the name of what is cut off, for the error.
    """
    rest, chosen = cut_indices(raw.labels, size, seed, part)
    return pick(raw, rest), pick(raw, chosen)


def keep(raw: Raw, size: int | None, seed: int, part: str) -> Raw:
    """`size` of the images, shuffled; all of them as they are for None."""
    if size is None or size == len(raw.labels):
        return raw
    return pick(raw, cut_indices(raw.labels, size, seed, part)[1])


def pick(raw: Raw, index: np.ndarray) -> Raw:
    return Raw(raw.images[index], raw.labels[index])


def cut_indices(
    labels: np.ndarray, size: int, seed: int, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint indices of the rest and of the part, together all."""
    classes = len(np.unique(labels))
    if not classes <= size <= len(labels) - classes:
        raise ValueError(
            f"{part}={size} of {len(labels)} images with {classes} classes; write a "
            f"number from {classes} to {len(labels) - classes}."
        )
    rest, chosen = train_test_split(
        np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels
    )
    return rest, chosen
