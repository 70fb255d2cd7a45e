"""Networks."""

import jax
import jax.numpy as jnp
from flax import nnx


def patches3x3(images: jax.Array, stride: int) -> jax.Array:
    """The 3x3 neighbourhood of every `stride`-th pixel, zero-padded by one.

    Args:
      images: shape (batch, height, width, channels), sides divisible by `stride`.
      stride: step between neighbourhoods.

    Returns:
      Shape (batch, height / stride, width / stride, 9 * channels); the last axis is
      ordered (row, column, channel), as a convolution kernel in HWIO layout.
    """
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(shifted, axis=-1)


class PatchConv(nnx.Module):
    """A 3x3 convolution as patches and one matmul.

    Under `vmap` over its weights an ordinary convolution becomes a grouped one, which
    XLA runs slowly on a CPU.
    """

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
        """Logits, shape (batch, classes)."""
        hidden = nnx.relu(self.conv1(images))
        hidden = nnx.relu(self.conv2(hidden))
        return self.head(hidden.reshape(hidden.shape[0], -1))
