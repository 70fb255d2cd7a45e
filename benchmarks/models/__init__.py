"""Networks, and the ways to convolve in them; no module knows how they are trained."""

from benchmarks.models.convolutions import (
    Convolve,
    convolve_by_patches,
    convolve_by_xla,
    patches3x3,
)
from benchmarks.models.dense import (
    DenseNet,
    apply_layers,
    draw_layers,
    with_layer_norm,
)
from benchmarks.models.implicit_gemm import convolve_in_place
from benchmarks.models.resnet import STAGES, BasicBlock, Norm, ResNet18
from benchmarks.models.small import SmallConvNet

__all__ = [
    "STAGES",
    "BasicBlock",
    "Convolve",
    "DenseNet",
    "Norm",
    "ResNet18",
    "SmallConvNet",
    "apply_layers",
    "convolve_by_patches",
    "convolve_by_xla",
    "convolve_in_place",
    "draw_layers",
    "patches3x3",
    "with_layer_norm",
]
