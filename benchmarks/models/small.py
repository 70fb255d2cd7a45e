"""A small convolutional network."""

import jax
from flax import nnx

from benchmarks.models.convolutions import patches3x3


class PatchConv(nnx.Module):
    """A 3x3 convolution with a bias, as patches and one matmul."""

    def __init__(
        self, in_features: int, out_features: int, *, stride: int, rngs: nnx.Rngs
    ):
        self.stride = stride
        self.linear = nnx.Linear(
            9 * in_features,
            out_features,
            kernel_init=nnx.initializers.he_normal(),
            rngs=rngs,
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.linear(patches3x3(images, self.stride))


class SmallConvNet(nnx.Module):
    """Two 3x3 convolutions, the second of stride 2, and a linear layer; no norm."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: tuple[int, int],
        classes: int,
        *,
        first_stride: int = 1,
        rngs: nnx.Rngs,
    ):
        height, width, in_features = image_shape
        first, second = channels
        self.conv1 = PatchConv(in_features, first, stride=first_stride, rngs=rngs)
        self.conv2 = PatchConv(first, second, stride=2, rngs=rngs)
        pixels = (height // (2 * first_stride)) * (width // (2 * first_stride))
        self.head = nnx.Linear(pixels * second, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return logits, shape (batch, classes)."""
        hidden = nnx.relu(self.conv1(images))
        hidden = nnx.relu(self.conv2(hidden))
        return self.head(hidden.reshape(hidden.shape[0], -1))
