"""scikit-learn's 1797 handwritten digits, 8x8 grey pixels from 0 to 16."""

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.data.spec import Raw, Source, Spec, check
from benchmarks.data.split import cut

MAX_PIXEL = 16


def read(spec: Spec, test: int, seed: int) -> Source:
    """The digits, which have no official test set, with one of `test` images."""
    bunch = load_digits()
    rest, chosen = cut(to_raw(spec, bunch.images, bunch.target), test, seed, "test")
    return Source(rest, chosen, "scikit-learn's digits")


def to_raw(spec: Spec, images: np.ndarray, labels: np.ndarray) -> Raw:
    """The arrays of `load_digits`, checked."""
    if images.min() != 0 or images.max() != MAX_PIXEL:
        raise ValueError(
            f"{spec.title}: pixels in [{images.min()}, {images.max()}], expected "
            f"[0, {MAX_PIXEL}]. {spec.get}"
        )
    raw = Raw(images.astype(np.uint8)[..., np.newaxis], labels)
    check(spec, "all images", raw, spec.train, "sklearn.datasets.load_digits")
    return raw
