"""scikit-learn's 1797 handwritten digits, 8x8 grey pixels from 0 to 16."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.data.spec import ImageSpec, RawImages, RawSet

MAX_PIXEL = 16
SPEC = ImageSpec(
    "digits",
    (8, 8, 1),
    10,
    train=1437,
    test=360,
    get="Reinstall scikit-learn.",
    imbalance=0.05,
    normalisation=((0.0,), (float(MAX_PIXEL),)),
)


def read(data_dir: Path | None) -> RawSet:
    """Return all digits; they are a part of scikit-learn and need no folder.

    Raises:
      ValueError: the pixels are not those of the digits.
    """
    found = load_digits()
    if found.images.min() != 0 or found.images.max() != MAX_PIXEL:
        raise ValueError(
            f"{SPEC.title}: pixels in [{found.images.min()}, {found.images.max()}], "
            f"expected [0, {MAX_PIXEL}]. {SPEC.get}"
        )
    images = found.images.astype(np.uint8)[..., np.newaxis]
    return RawSet(RawImages(images, found.target), None, "scikit-learn's digits")
