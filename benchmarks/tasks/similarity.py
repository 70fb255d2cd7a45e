"""Distances of synthesised photos to the true ones: L1 and multi-scale SSIM."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al., 2003, finest first
WINDOW, DEVIATION = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # of images in [0, 1]


def l1(photos: jax.Array, others: jax.Array) -> jax.Array:
    """Average the absolute difference of all pixels."""
    return jnp.abs(photos - others).mean()


def ms_ssim(photos: jax.Array, others: jax.Array) -> jax.Array:
    """Compute the multi-scale SSIM of each pair of images, 1 for equal ones.

    Wang, Simoncelli and Bovik (2003) define it as a product over scales. Its factors
    are contrast and structure at every scale, and luminance too at the coarsest, to the
    power of the scale's weight. A factor is a mean over the Gaussian windows of 11x11
    pixels that lie inside the image; a negative one counts as 0. The result is the mean
    over the colours.

    Of the five scales an image has those that hold a window: all from 176 pixels on, 4
    at 128 and 3 at 64. Their weights are divided by their sum.

    Args:
      photos: in [0, 1], shape (n, size, size, channels).
      others: images to compare with, of the same shape.

    Returns:
      Shape (n,).
    """
    weights = np.asarray(WEIGHTS[: scales(photos.shape[1])])
    result = jnp.ones(())
    for scale, weight in enumerate(weights / weights.sum()):
        if scale:
            photos, others = average_pool(photos), average_pool(others)
        parts = ssim(photos, others)
        last = scale == len(weights) - 1
        value = parts.ssim if last else parts.contrast_and_structure
        result = result * jnp.maximum(value, 0) ** weight
    return result.mean(axis=-1)


def scales(size: int) -> int:
    """Return how many scales hold a window."""
    if size < WINDOW:
        raise ValueError(
            f"Images of {size} pixels; SSIM needs {WINDOW} a side: enlarge them."
        )
    return min(len(WEIGHTS), (size // WINDOW).bit_length())


def average_pool(images: jax.Array) -> jax.Array:
    """Average squares of 2x2 pixels; an odd row or column at the end is left out."""
    n, height, width, channels = images.shape
    rows, columns = height // 2, width // 2
    squares = images[:, : 2 * rows, : 2 * columns]
    return squares.reshape(n, rows, 2, columns, 2, channels).mean(axis=(2, 4))


class Ssim(NamedTuple):
    """Means over the windows of an image's channel, shape (n, channels).

    Attributes:
      contrast_and_structure: SSIM without its factor of luminance.
      ssim: SSIM.
    """

    contrast_and_structure: jax.Array
    ssim: jax.Array


def ssim(x: jax.Array, y: jax.Array) -> Ssim:
    """Compute SSIM (Wang et al., 2004) at one scale, with and without its luminance."""
    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x**2
    var_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    rest = (2 * covariance + C2) / (var_x + var_y + C2)
    return Ssim(rest.mean(axis=(1, 2)), (luminance * rest).mean(axis=(1, 2)))


def blur(images: jax.Array) -> jax.Array:
    """Average windows inside the image by a Gaussian, as matmuls along its sides."""
    _, height, width, _ = images.shape
    rows, columns = window_means(height), window_means(width)
    return jnp.einsum(
        "ih,jw,nhwc->nijc", rows, columns, images, precision=jax.lax.Precision.HIGHEST
    )


def window_means(size: int) -> np.ndarray:
    """Return a row for each window of a line of pixels: a Gaussian, else zeros."""
    gauss = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / DEVIATION) ** 2)
    windows = size - WINDOW + 1
    rows = np.zeros((windows, size), np.float32)
    for k in range(windows):
        rows[k, k : k + WINDOW] = gauss / gauss.sum()
    return rows
