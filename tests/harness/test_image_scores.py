"""Scores of images against dm-pix, and against NumPy and SciPy in float64."""

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal

from benchmarks.tasks import segmentation, similarity

WEIGHTS = np.asarray([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def images(size, n=3):
    """Return smooth images and noisy copies, in [0, 1]."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((n, size, size, 3)), (0, 3, 3, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return smooth, np.clip(smooth + rng.normal(scale=0.1, size=smooth.shape), 0, 1)


def oracle(x, y, scales):
    """Compute MS-SSIM (Wang et al., 2003) of a channel by SciPy's convolutions."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return signal.convolve2d(image, window, mode="valid")

    value = 1.0
    for scale, weight in enumerate(WEIGHTS[:scales] / WEIGHTS[:scales].sum()):
        if scale:
            x, y = (ndimage.uniform_filter(i, 2, origin=-1)[::2, ::2] for i in (x, y))
        mx, my = mean(x), mean(y)
        vx, vy = mean(x * x) - mx**2, mean(y * y) - my**2
        part = (2 * (mean(x * y) - mx * my) + 0.0009) / (vx + vy + 0.0009)
        if scale == scales - 1:
            part = part * (2 * mx * my + 0.0001) / (mx**2 + my**2 + 0.0001)
        value *= max(part.mean(), 0) ** weight
    return value


def test_ssim_is_that_of_dm_pix():
    x, y = (jnp.float32(i) for i in images(64))
    ours = jax.jit(similarity.ssim)(x, y).ssim.mean(axis=-1)
    theirs = jax.jit(dm_pix.ssim)(x, y)
    # float32: variances of 1e-2 are differences of squares up to 1, against 9e-4
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert 0.2 < np.min(theirs) < np.max(theirs) < 0.95


@pytest.mark.parametrize(("size", "scales"), [(11, 1), (64, 3), (128, 4), (176, 5)])
def test_ms_ssim_is_that_of_scipy(size, scales):
    x, y = images(size)
    assert similarity.scales(size) == scales
    expected = [
        np.mean([oracle(a[..., c], b[..., c], scales) for c in range(3)])
        for a, b in zip(x, y, strict=True)
    ]
    ours = jax.jit(similarity.ms_ssim)(jnp.float32(x), jnp.float32(y))
    # float32: variances of 1e-2 are differences of squares up to 1, against 9e-4
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert 0.2 < np.min(expected) < np.max(expected) < 0.95


def test_an_image_is_itself():
    x, y = (jnp.float32(i) for i in images(64))
    score = jax.jit(similarity.ms_ssim)
    np.testing.assert_allclose(score(x, x), 1, atol=1e-6)
    np.testing.assert_allclose(score(x, y), score(y, x), rtol=1e-5)
    # the negative of an image: its contrast is the same, its structure opposite
    np.testing.assert_array_equal(score(x, 1 - x), 0)
    assert similarity.l1(x, x) == 0
    np.testing.assert_allclose(similarity.l1(x, x + 0.25), 0.25, rtol=1e-6)


def test_an_image_smaller_than_a_window():
    x = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match="Images of 8 pixels; SSIM needs 11 a side"):
        similarity.ms_ssim(x, x)


def iou(labels, predicted, classes, void):
    values = []
    for k in set(range(classes)) - {void}:
        truth, called = labels == k, (predicted == k) & (labels != void)
        union = (truth | called).sum()
        if union:
            values.append((truth & called).sum() / union)
    return np.mean(values)


def test_mean_iou_is_that_of_a_loop_over_classes():
    rng = np.random.default_rng(0)
    classes, void = 6, 4
    labels = rng.choice([0, 1, 2, 4], size=(3, 16, 16)).astype(np.uint8)
    predicted = np.where(rng.random(labels.shape) < 0.6, labels, (labels + 1) % 5)
    matrix = segmentation.confusion(
        jnp.asarray(labels), jnp.asarray(predicted), classes
    )
    counted = np.zeros((classes, classes), int)
    np.add.at(counted, (labels.ravel(), predicted.ravel()), 1)
    np.testing.assert_array_equal(matrix, counted)
    # 3 is only called, 5 is neither; 4 is void
    assert counted[:, 3].sum() > 0
    expected = iou(labels, predicted, classes, void)
    np.testing.assert_allclose(segmentation.mean_iou(matrix, void), expected, rtol=1e-6)


def test_mean_iou_of_the_truth_and_of_nothing_right():
    labels = jnp.asarray([0, 1, 2, 3])
    matrix = segmentation.confusion(labels, labels, 4)
    assert segmentation.mean_iou(matrix, void=3) == 1
    matrix = segmentation.confusion(labels, jnp.full(4, 3), 4)
    assert segmentation.mean_iou(matrix, void=3) == 0
