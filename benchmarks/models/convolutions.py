"""Convolutions as matmuls, for `vmap` over their kernels.

XLA's own convolution becomes a grouped one under `vmap` over its kernels, which is slow
on a CPU. The networks for 32x32 images have kernels of 3x3 pixels, pix2pix of 4x4.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Convolve = Callable[[jax.Array, jax.Array, int], jax.Array]
"""Takes images, a kernel of 3x3 pixels (images are zero-padded) or 1x1, a stride."""


def convolve_by_patches(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve by one matmul; at stride 1, patches of 3x3 are nine times the images."""
    if len(kernel) == 1:
        return images[:, ::stride, ::stride] @ kernel[0, 0]
    return patches3x3(images, stride) @ kernel.reshape(-1, kernel.shape[-1])


def convolve_by_xla(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve by XLA's own operation."""
    side = len(kernel) // 2
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        [(side, side), (side, side)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def patches3x3(images: jax.Array, stride: int) -> jax.Array:
    """Return the 3x3 neighbourhood of every `stride`-th pixel, zero-padded by one.

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


def halve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a kernel of 4x4 and stride 2, zero-padded by one, by one matmul.

    Of squares of 2x2 pixels this is a 2x2 convolution of stride 1.
    """
    n, height, width, features = images.shape
    rows, columns = height // 2 + 1, width // 2 + 1
    squares = padded(images).reshape(n, rows, 2, columns, 2, features)
    squares = squares.transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(n, rows, columns, 4 * features)
    weights = kernel.reshape(2, 2, 2, 2, features, -1).transpose(0, 2, 1, 3, 4, 5)
    return windows(squares, 2) @ weights.reshape(16 * features, -1)


def slide(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a kernel of 4x4 and stride 1, zero-padded by one on each side."""
    return windows(padded(images), 4) @ kernel.reshape(-1, kernel.shape[-1])


def padded(images: jax.Array) -> jax.Array:
    return jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def windows(images: jax.Array, size: int) -> jax.Array:
    """Return the squares inside an image, their (row, column, channel) as channels.

    Columns come first, then rows: XLA compiles 2 * size slices sooner than size**2.
    """
    _, height, width, _ = images.shape
    rows, columns = height - size + 1, width - size + 1
    lines = jnp.concatenate(
        [images[:, :, j : j + columns] for j in range(size)], axis=-1
    )
    return jnp.concatenate([lines[:, i : i + rows] for i in range(size)], axis=-1)


def double(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """Double the sides by a 4x4 convolution, the transpose of `halve`.

    Each pixel becomes a square of 4x4. Row 2p + q of the squares in row r is row q of
    the pair of rows r + p of the result, before it loses a pixel at every edge.
    """
    n, height, width, _ = images.shape
    features = kernel.shape[-1]
    columns = jnp.moveaxis(kernel, 2, 0).reshape(-1, 16 * features)
    squares = (images @ columns).reshape(n, height, width, 2, 2, 2, 2, features)
    pairs = add_shifted(squares[:, :, :, 0], squares[:, :, :, 1], axis=1)
    pairs = add_shifted(pairs[:, :, :, :, 0], pairs[:, :, :, :, 1], axis=2)
    result = pairs.transpose(0, 1, 3, 2, 4, 5)
    result = result.reshape(n, 2 * height + 2, 2 * width + 2, features)
    return result[:, 1:-1, 1:-1]


def add_shifted(first: jax.Array, second: jax.Array, axis: int) -> jax.Array:
    """Add arrays, the second moved on by one along an axis, which grows by one."""
    sides = [(0, 0)] * first.ndim
    after, before = [*sides], [*sides]
    after[axis], before[axis] = (0, 1), (1, 0)
    return jnp.pad(first, after) + jnp.pad(second, before)
