"""Random crops and flips on the device, from a key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

PADDING = 4
JITTER = 286 / 256  # how much pix2pix enlarges before it crops


class Draws(NamedTuple):
    """What is drawn for each image.

    Attributes:
      offset: int32, shape (n, 2), row and column of the crop's first pixel.
      flip: bool, shape (n,), whether to mirror left and right.
    """

    offset: jax.Array
    flip: jax.Array


def draw(key: jax.Array, n: int, largest: int) -> Draws:
    """Draw offsets, uniform from 0 to `largest`, and flips of probability 1/2."""
    offset_key, flip_key = jax.random.split(key)
    return Draws(
        jax.random.randint(offset_key, (n, 2), 0, largest + 1),
        jax.random.bernoulli(flip_key, shape=(n,)),
    )


def crop_and_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Pad each image by 4, crop it to its size at random, flip it or not.

    The padding is 0: normalise first, so that it is the mean pixel.

    Args:
      key: a different one for each step.
      images: floating, shape (n, height, width, channels), normalised.

    Returns:
      The same shape and dtype.
    """
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"crop_and_flip pads with 0, the mean of normalised images, but these are "
            f"{images.dtype}; write crop_and_flip(key, (images - mean) / std)."
        )
    n, height, width, _ = images.shape
    sides = (PADDING, PADDING)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    return crop(padded, draw(key, n, 2 * PADDING), height, width)


def jitter(
    key: jax.Array, labels: jax.Array, photos: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Enlarge pairs by 286 / 256, crop them back at random, flip them or not.

    This is pix2pix's random jitter. A label map and its photo are treated alike.

    Args:
      key: a different one for each step.
      labels: integers, shape (n, size, size), enlarged to the nearest pixel.
      photos: floating, shape (n, size, size, 3), enlarged bilinearly.

    Returns:
      The same shapes and dtypes.
    """
    n, size, _, channels = photos.shape
    large = round(size * JITTER)
    draws = draw(key, n, large - size)
    labels = jax.image.resize(labels, (n, large, large), "nearest")
    photos = jax.image.resize(photos, (n, large, large, channels), "linear")
    return crop(labels, draws, size, size), crop(photos, draws, size, size)


def crop(images: jax.Array, draws: Draws, height: int, width: int) -> jax.Array:
    """Crop each image of shape (rows, columns, ...) as drawn, and flip it or not."""
    offset, flip = draws
    rows = offset[:, :1] + jnp.arange(height)[None]
    columns = jnp.arange(width)[None]
    columns = offset[:, 1:] + jnp.where(flip[:, None], columns[:, ::-1], columns)
    image = jnp.arange(len(images))[:, None, None]
    return images[image, rows[:, :, None], columns[:, None, :]]
