"""Networks: images (batch, height, width, channels) to logits (batch, classes)."""

from benchmarks.models.implicit import in_place
from benchmarks.models.resnet import (
    STAGES,
    BasicBlock,
    Convolve,
    Norm,
    ResNet18,
    patches,
    plain,
)
from benchmarks.models.small import PatchConv, SmallConvNet, patches3x3

__all__ = [
    "STAGES",
    "BasicBlock",
    "Convolve",
    "Norm",
    "PatchConv",
    "ResNet18",
    "SmallConvNet",
    "in_place",
    "patches",
    "patches3x3",
    "plain",
]
