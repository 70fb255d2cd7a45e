"""Networks: images (batch, height, width, channels) to logits (batch, classes)."""

from benchmarks.models.resnet import BasicBlock, Norm, ResNet18
from benchmarks.models.small import PatchConv, SmallConvNet, patches3x3

__all__ = [
    "BasicBlock",
    "Norm",
    "PatchConv",
    "ResNet18",
    "SmallConvNet",
    "patches3x3",
]
