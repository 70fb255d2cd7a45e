"""ResNet-18 for 32x32 images, with BatchNorm or GroupNorm."""

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from benchmarks.models.convolutions import Convolve, convolve_by_patches

Norm = Literal["batch", "group"]

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # (times the width, stride)
BLOCKS = 2
GROUPS = 4
EPSILON = 1e-5

he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
# U(-b, b) with b = 1 / sqrt(inputs), PyTorch's default weights of a linear layer
inverse_root = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nnx.Module):
    """A convolution without bias."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        size: Literal[1, 3],
        stride: int = 1,
        convolve: Convolve = convolve_by_patches,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.convolve = convolve
        self.dtype = dtype
        shape = (size, size, in_features, out_features)
        self.kernel = nnx.Param(he_normal(rngs.params(), shape, jnp.float32))

    def __call__(self, images: jax.Array) -> jax.Array:
        images, kernel = images.astype(self.dtype), self.kernel.astype(self.dtype)
        return self.convolve(images, kernel, self.stride)


def make_norm(
    features: int, norm: Norm, *, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.BatchNorm | nnx.GroupNorm:
    """Return a normalisation with scale and bias; its statistics are in float32."""
    if norm == "batch":
        return nnx.BatchNorm(
            features, momentum=0.9, epsilon=EPSILON, dtype=dtype, rngs=rngs
        )
    if norm == "group":
        groups = math.gcd(features, GROUPS)
        return nnx.GroupNorm(features, groups, epsilon=EPSILON, dtype=dtype, rngs=rngs)
    raise ValueError(f"norm={norm!r}; write norm='batch' or norm='group'.")


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions around a shortcut.

    The shortcut is a strided 1x1 convolution with a normalisation where the block
    changes the shape, else the identity.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        stride: int = 1,
        norm: Norm = "batch",
        convolve: Convolve = convolve_by_patches,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        conv = partial(Conv, convolve=convolve, dtype=dtype, rngs=rngs)
        self.conv1 = conv(in_features, out_features, size=3, stride=stride)
        self.norm1 = make_norm(out_features, norm, dtype=dtype, rngs=rngs)
        self.conv2 = conv(out_features, out_features, size=3)
        self.norm2 = make_norm(out_features, norm, dtype=dtype, rngs=rngs)
        self.projects = stride != 1 or in_features != out_features
        if self.projects:
            self.conv3 = conv(in_features, out_features, size=1, stride=stride)
            self.norm3 = make_norm(out_features, norm, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        hidden = nnx.relu(self.norm1(self.conv1(images)))
        hidden = self.norm2(self.conv2(hidden))
        shortcut = self.norm3(self.conv3(images)) if self.projects else images
        return nnx.relu(hidden + shortcut)


class ResNet18(nnx.Module):
    """The common ResNet-18 for CIFAR: a 3x3 stem without max-pooling, 8 basic blocks.

    With 10 classes and width 64 it has 11,173,962 parameters, whichever the norm.

    The initial weights are those of torchvision's ResNet: convolutions He-normal
    (fan_out), scales 1 (those that end a block too), biases 0, the head uniform within
    1 / sqrt(inputs).

    BatchNorm at batch 8 is noisy: a channel of the last stage sees 8 x 4 x 4 values of
    a 32x32 image a step. Its running averages follow the weights but are no parameters:
    an optimizer that anchors or averages the weights does neither to them. GroupNorm
    has no such state.

    Args:
      classes: number of logits.
      width: channels of the first stage; 8 times as many in the last.
      norm: "batch", or "group" for gcd(channels, 4) groups: 4 at the usual widths, with
        at least 2 channels each from width 8 on.
      in_features: channels of the images.
      convolve: how to convolve, such as `convolve_by_patches`; `python -m benchmarks
        speed` compares the ways.
      dtype: of the activations. Parameters, statistics and logits are float32.
      rngs: of the initial weights.
    """

    def __init__(
        self,
        classes: int,
        *,
        width: int = 64,
        norm: Norm = "batch",
        in_features: int = 3,
        convolve: Convolve = convolve_by_patches,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            in_features, width, size=3, convolve=convolve, dtype=dtype, rngs=rngs
        )
        self.norm = make_norm(width, norm, dtype=dtype, rngs=rngs)
        blocks, before = [], width
        for factor, stage_stride in STAGES:
            for number in range(BLOCKS):
                after, stride = factor * width, stage_stride if number == 0 else 1
                block = BasicBlock(
                    before,
                    after,
                    stride=stride,
                    norm=norm,
                    convolve=convolve,
                    dtype=dtype,
                    rngs=rngs,
                )
                blocks.append(block)
                before = after
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(before, classes, kernel_init=inverse_root, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return logits, float32, shape (batch, classes)."""
        hidden = nnx.relu(self.norm(self.conv(images)))
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden.mean(axis=(1, 2), dtype=jnp.float32))
