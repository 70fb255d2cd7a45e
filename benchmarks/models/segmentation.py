"""A network that reads the label map back from a photo, as in pix2pix's FCN score."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from benchmarks.models.pix2pix import UNet

LEVELS = 4


class Segmenter(nnx.Module):
    """A small U-Net without dropout, from photos to logits of classes for each pixel.

    With 12 classes and width 16 it has 392,364 parameters.

    Args:
      classes: number of classes of the label maps.
      width: channels of the first layer; 8 times as many in the last.
      dtype: of the activations. Parameters, statistics and logits are float32.
      rngs: of the initial weights.
    """

    def __init__(
        self,
        classes: int,
        *,
        width: int = 16,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.net = UNet(3, classes, width=width, levels=LEVELS, dtype=dtype, rngs=rngs)

    def __call__(self, photos: jax.Array) -> jax.Array:
        """Return logits, shape (batch, size, size, classes), of photos in [-1, 1].

        The size is divisible by 16.
        """
        return self.net(photos)
