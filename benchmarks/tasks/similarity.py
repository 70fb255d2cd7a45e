"""How near synthesised photos are to the true ones, and what a reader makes of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al., 2003, finest first
WINDOW, DEVIATION = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # of images in [0, 1]


def l1(photos: jax.Array, others: jax.Array) -> jax.Array:
    """Mean absolute difference of all pixels."""
    return jnp.abs(photos - others).mean()


def ms_ssim(photos: jax.Array, others: jax.Array) -> jax.Array:
    """Multi-scale SSIM of each pair of images, 1 for equal ones.

    Wang, Simoncelli and Bovik, 2003: contrast and structure at every scale and
    luminance at the coarsest, each in Gaussian windows of 11x11 pixels that lie inside
    the image, to the power of the scale's weight. Each colour by itself, then their
    mean. A negative value counts as 0.

    An image has as many of the five scales as hold a window: all from 176 pixels on, 4
    at 128 and 3 at 64. The weights of those are divided by their sum.

    Args:
      photos: in [0, 1], shape (n, size, size, channels).
      others: the same.

    Returns:
      Shape (n,).
    """
    weights = np.asarray(WEIGHTS[: scales(photos.shape[1])])
    result = jnp.ones(())
    for scale, weight in enumerate(weights / weights.sum()):
        if scale:
            photos, others = mean_of_fours(photos), mean_of_fours(others)
        parts = similarity(photos, others)
        last = scale == len(weights) - 1
        value = parts.whole if last else parts.contrast_and_structure
        result = result * jnp.maximum(value, 0) ** weight
    return result.mean(axis=-1)


def scales(size: int) -> int:
    """How many scales hold a window."""
    if size < WINDOW:
        raise ValueError(
            f"Images of {size} pixels; SSIM needs {WINDOW} a side: enlarge them."
        )
    return min(len(WEIGHTS), (size // WINDOW).bit_length())


def mean_of_fours(images: jax.Array) -> jax.Array:
    """Half the size; an odd row or column at the end is left out."""
    n, height, width, channels = images.shape
    rows, columns = height // 2, width // 2
    squares = images[:, : 2 * rows, : 2 * columns]
    return squares.reshape(n, rows, 2, columns, 2, channels).mean(axis=(2, 4))


class Similarity(NamedTuple):
    """Means over the windows of an image's channel, shape (n, channels)."""

    contrast_and_structure: jax.Array
    whole: jax.Array


def similarity(x: jax.Array, y: jax.Array) -> Similarity:
    """SSIM (Wang et al., 2004) at one scale, with and without its luminance."""
    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x**2
    var_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    rest = (2 * covariance + C2) / (var_x + var_y + C2)
    return Similarity(rest.mean(axis=(1, 2)), (luminance * rest).mean(axis=(1, 2)))


def blur(images: jax.Array) -> jax.Array:
    """Gaussian means of the windows inside the image, as matmuls along its sides."""
    _, height, width, _ = images.shape
    rows, columns = window_means(height), window_means(width)
    return jnp.einsum(
        "ih,jw,nhwc->nijc", rows, columns, images, precision=jax.lax.Precision.HIGHEST
    )


def window_means(size: int) -> np.ndarray:
    """A row for each window of a line of pixels: its Gaussian, zero elsewhere."""
    gauss = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / DEVIATION) ** 2)
    windows = size - WINDOW + 1
    rows = np.zeros((windows, size), np.float32)
    for k in range(windows):
        rows[k, k : k + WINDOW] = gauss / gauss.sum()
    return rows
