"""Convolutions of 4x4 pixels as matmuls, for `vmap` over their kernels.

A plain convolution becomes a grouped one then, which XLA runs slowly on a CPU.
"""

import jax
import jax.numpy as jnp


def halve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 4x4 convolution of stride 2, zero-padded by one, as one matmul.

    Of squares of 2x2 pixels it is a 2x2 convolution of stride 1.
    """
    n, height, width, features = images.shape
    rows, columns = height // 2 + 1, width // 2 + 1
    squares = padded(images).reshape(n, rows, 2, columns, 2, features)
    squares = squares.transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(n, rows, columns, 4 * features)
    weights = kernel.reshape(2, 2, 2, 2, features, -1).transpose(0, 2, 1, 3, 4, 5)
    return windows(squares, 2) @ weights.reshape(16 * features, -1)


def slide(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 4x4 convolution of stride 1, zero-padded by one: each side loses a pixel."""
    return windows(padded(images), 4) @ kernel.reshape(-1, kernel.shape[-1])


def padded(images: jax.Array) -> jax.Array:
    return jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))


def windows(images: jax.Array, size: int) -> jax.Array:
    """The squares inside an image, their pixels (row, column, channel) as channels.

    A side at a time: XLA compiles twice `size` slices sooner than its square.
    """
    _, height, width, _ = images.shape
    rows, columns = height - size + 1, width - size + 1
    lines = jnp.concatenate(
        [images[:, :, j : j + columns] for j in range(size)], axis=-1
    )
    return jnp.concatenate([lines[:, i : i + rows] for i in range(size)], axis=-1)


def double(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transpose of `halve`: a 4x4 convolution that doubles the sides.

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
    """The sum when `second` is moved on by one along an axis, which grows by one."""
    sides = [(0, 0)] * first.ndim
    after, before = [*sides], [*sides]
    after[axis], before[axis] = (0, 1), (1, 0)
    return jnp.pad(first, after) + jnp.pad(second, before)
