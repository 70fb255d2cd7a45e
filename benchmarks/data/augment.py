"""Random crops and flips on the device, from a key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

PADDING = 4


class Draws(NamedTuple):
    """One draw an image.

    Attributes:
      offset: int32, shape (n, 2), row and column of the crop, 0 to 2 * PADDING.
      flip: bool, shape (n,), whether to mirror left and right.
    """

    offset: jax.Array
    flip: jax.Array


def draw(key: jax.Array, n: int) -> Draws:
    """Uniform offsets, and a flip with probability 1/2, all independent."""
    offset_key, flip_key = jax.random.split(key)
    return Draws(
        jax.random.randint(offset_key, (n, 2), 0, 2 * PADDING + 1),
        jax.random.bernoulli(flip_key, shape=(n,)),
    )


def crop_and_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image padded by 4, cropped to its size at random and flipped or not.

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
    offset, flip = draw(key, n)
    rows = offset[:, :1] + jnp.arange(height)[None]
    columns = jnp.arange(width)[None]
    columns = offset[:, 1:] + jnp.where(flip[:, None], columns[:, ::-1], columns)
    sides = (PADDING, PADDING)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    image = jnp.arange(n)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]]
