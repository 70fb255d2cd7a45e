"""Crops, flips and jitter are those of a NumPy loop, with independent uniform draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.data import augment

draw = jax.jit(augment.draw, static_argnums=(1, 2))


def test_crop_and_flip_is_a_loop_over_images():
    key = jax.random.key(0)
    images = np.asarray(jax.random.normal(jax.random.key(1), (50, 6, 5, 3)))
    offset, flip = map(np.asarray, draw(key, len(images), 8))
    expected = []
    for image, (row, column), mirrored in zip(images, offset, flip, strict=True):
        padded = np.zeros((14, 13, 3), np.float32)
        padded[4:-4, 4:-4] = image
        crop = padded[row : row + 6, column : column + 5]
        expected.append(crop[:, ::-1] if mirrored else crop)
    assert 0 < flip.sum() < 50
    ours = jax.jit(augment.crop_and_flip)(key, images)
    np.testing.assert_array_equal(ours, expected)


def test_draws_are_uniform_and_independent_between_images():
    n = 20_000
    offset, flip = map(np.asarray, draw(jax.random.key(0), n, 8))
    cell = offset[:, 0] * 18 + offset[:, 1] * 2 + flip
    counts = np.bincount(cell, minlength=162)
    assert len(counts) == 162
    # Poisson: mean 123, standard deviation 11; five of them.
    np.testing.assert_allclose(counts, n / 162, atol=56)
    neighbours = np.corrcoef(cell[:-1], cell[1:])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(n)


def test_lanes_of_crop_and_flip_are_single_runs():
    keys = jax.random.split(jax.random.key(0), 3)
    images = jax.random.normal(jax.random.key(1), (4, 6, 6, 2))
    single = jax.jit(augment.crop_and_flip)
    lanes = jax.jit(jax.vmap(augment.crop_and_flip, (0, None)))(keys, images)
    np.testing.assert_array_equal(lanes, [single(key, images) for key in keys])
    assert not np.array_equal(lanes[0], lanes[1])


def test_images_before_normalisation_are_refused():
    images = jnp.zeros((1, 8, 8, 1), jnp.uint8)
    with pytest.raises(
        TypeError, match=r"these are uint8; write crop_and_flip\(key, \("
    ):
        augment.crop_and_flip(jax.random.key(0), images)


def enlarge(image, large, nearest):
    """Interpolate rows and columns at (pixel + 1/2) * size / large - 1/2."""
    size = len(image)
    at = (np.arange(large) + 0.5) * size / large
    if nearest:
        index = at.astype(int)
        return image[index][:, index]
    at = np.clip(at - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), size - 2)
    share = (at - low)[:, None, None]
    rows = (1 - share) * image[low] + share * image[low + 1]
    share = share.reshape(1, -1, 1)
    return (1 - share) * rows[:, low] + share * rows[:, low + 1]


def test_jitter_is_a_loop_over_pairs():
    key, n, size, large = jax.random.key(0), 20, 16, 18  # 16 x 286 / 256 = 17.9
    photos = jax.random.normal(jax.random.key(1), (n, size, size, 3))
    labels = jax.random.randint(jax.random.key(2), (n, size, size), 0, 9)
    offset, flip = map(np.asarray, draw(key, n, large - size))
    jitter = jax.jit(augment.jitter)
    ours = [np.asarray(x) for x in jitter(key, labels.astype(jnp.uint8), photos)]
    assert [x.dtype for x in ours] == [np.uint8, np.float32]
    # float32: weights of order 1 in another order; labels are exact
    given = [np.asarray(x) for x in (labels, photos)]
    for images, result, atol in zip(given, ours, (0, 1e-5), strict=True):
        for k, (row, column) in enumerate(offset):
            whole = enlarge(images[k], large, nearest=atol == 0)
            crop = whole[row : row + size, column : column + size]
            expected = crop[:, ::-1] if flip[k] else crop
            np.testing.assert_allclose(result[k], expected, atol=atol)
    assert 0 < flip.sum() < n
    assert set(offset.ravel()) == {0, 1, 2}
