"""Fashion-MNIST and a small convolutional network, those of the benchmarks."""

import sys
from functools import partial
from pathlib import Path

import digits

sys.path.append(str(Path(__file__).parents[1]))  # the checkout
from benchmarks.data import image_set
from benchmarks.models.small import SmallConvNet

Network = partial(SmallConvNet, (28, 28, 1), (8, 16), 10, first_stride=2)


def load(folder: Path | None) -> tuple[digits.Images, ...]:
    """58,000 images to train on, 2,000 to validate and 2,000 to test with."""
    sets = image_set.load("fashion-mnist", folder, validation=2000, test=2000, seed=0)
    parts = sets.train, sets.validation, sets.test
    return tuple(digits.Images(sets.normalise(x.images), x.labels) for x in parts)
