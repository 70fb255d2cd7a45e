"""scikit-learn's 1797 handwritten digits, 8x8 grey pixels from 0 to 16."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.data.spec import ImageSpec, RawImages, RawSet

SPEC = ImageSpec(
    "digits",
    (8, 8, 1),
    10,
    train=1437,
    test=360,
    get="Reinstall scikit-learn.",
    imbalance=0.05,
    normalisation=((0.0,), (16.0,)),
)


def read(data_dir: Path | None) -> RawSet:
    """Return all digits; they are a part of scikit-learn and need no folder."""
    found = load_digits()
    images = found.images.astype(np.uint8)[..., np.newaxis]
    return RawSet(RawImages(images, found.target), None, "scikit-learn's digits")
