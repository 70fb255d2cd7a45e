"""Data sets, checked on load and split into train, validation and test."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

IMAGES, HEIGHT, WIDTH, CLASSES, MAX_PIXEL = 1797, 8, 8, 10, 16


class Split(NamedTuple):
    """Labelled images.

    Attributes:
      images: float32, shape (n, height, width, channels), values in [0, 1].
      labels: int32, shape (n,).
    """

    images: jax.Array
    labels: jax.Array


class Splits(NamedTuple):
    """Three disjoint parts of a data set."""

    train: Split
    validation: Split
    test: Split


def split_indices(
    labels: np.ndarray, validation: int, test: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of train, validation and test, with equal class proportions."""
    rest, test_index = train_test_split(
        np.arange(len(labels)), test_size=test, random_state=seed, stratify=labels
    )
    train_index, validation_index = train_test_split(
        rest, test_size=validation, random_state=seed, stratify=labels[rest]
    )
    return train_index, validation_index, test_index


def digits(validation: int, test: int, seed: int) -> Splits:
    """scikit-learn's 1797 handwritten digits, 8x8 grey pixels.

    Args:
      validation: number of images held out to choose the learning rate.
      test: number of images held out for the final accuracy.
      seed: of the split; the runs' seeds do not change it.
    """
    raw = load_digits()
    check_digits(raw.images, raw.target)
    images = (raw.images / MAX_PIXEL).astype(np.float32)[..., np.newaxis]
    parts = (
        Split(jnp.asarray(images[index]), jnp.asarray(raw.target[index], jnp.int32))
        for index in split_indices(raw.target, validation, test, seed)
    )
    return Splits(*parts)


def check_digits(images: np.ndarray, labels: np.ndarray) -> None:
    """Raise ValueError unless the arrays are the digits this module expects."""
    if images.shape != (IMAGES, HEIGHT, WIDTH):
        raise ValueError(
            f"digits: images of shape {images.shape}, expected "
            f"{(IMAGES, HEIGHT, WIDTH)}; reinstall scikit-learn."
        )
    if images.min() != 0 or images.max() != MAX_PIXEL:
        raise ValueError(
            f"digits: pixels in [{images.min()}, {images.max()}], expected "
            f"[0, {MAX_PIXEL}]; reinstall scikit-learn."
        )
    if labels.shape != (IMAGES,) or set(labels.tolist()) != set(range(CLASSES)):
        raise ValueError(
            f"digits: labels of shape {labels.shape} and values "
            f"{np.unique(labels).tolist()}, expected {IMAGES} labels 0 to "
            f"{CLASSES - 1}; reinstall scikit-learn."
        )
