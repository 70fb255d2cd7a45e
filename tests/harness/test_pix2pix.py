"""The networks of label-to-photo synthesis: published sizes, layers, invariances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.models import convolutions, pix2pix, segmentation

SIZES = (64, 128, 256)


def size(make):
    """Count the parameters; nothing is computed."""
    model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert jax.tree.leaves(rest) == []
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def hand_counted_unet(channels_in, channels_out, widths):
    """Count 16 numbers a pair of channels, two a normalised channel, the last bias."""
    pairs_down = zip((channels_in, *widths), widths, strict=False)
    down = sum(16 * a * b for a, b in pairs_down)
    up = 16 * widths[-1] * widths[-2]
    up += sum(
        16 * 2 * a * b for a, b in zip(widths[-2:0:-1], widths[-3::-1], strict=True)
    )
    up += 16 * 2 * widths[0] * channels_out + channels_out
    norms = 2 * sum(widths[1:-1]) + 2 * sum(widths[:-1])
    return down + up + norms


def test_published_parameter_counts():
    generator = partial(pix2pix.Generator, 3, size=256)
    assert size(lambda rngs: generator(rngs=rngs)) == 54_413_955
    assert size(lambda rngs: pix2pix.Discriminator(3, rngs=rngs)) == 2_768_705
    widths = (64, 128, 256, 512, 512, 512, 512, 512)
    assert hand_counted_unet(3, 3, widths) == 54_413_955


@pytest.mark.parametrize("pixels", SIZES)
@pytest.mark.parametrize("width", [8, 64])
def test_generator_has_a_level_for_each_halving(pixels, width):
    factors = (1, 2, 4, 8, 8, 8, 8, 8)[: {64: 6, 128: 7, 256: 8}[pixels]]
    make = partial(pix2pix.Generator, 12, size=pixels, width=width)
    expected = hand_counted_unet(12, 3, [width * factor for factor in factors])
    assert size(lambda rngs: make(rngs=rngs)) == expected


def test_discriminator_and_segmenter_of_the_experiments():
    # 16 x (15 x 8 + 8 x 16 + 16 x 32 + 32 x 64 + 64) + 2 x (16 + 32 + 64) + 8 + 1
    make = partial(pix2pix.Discriminator, 12, width=8)
    assert size(lambda rngs: make(rngs=rngs)) == 46_185
    make = partial(segmentation.Segmenter, 12)
    expected = hand_counted_unet(3, 12, (16, 32, 64, 128))
    assert size(lambda rngs: make(rngs=rngs)) == expected == 392_364


def oracle(images, kernel, stride):
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize(
    ("convolve", "stride"), [(convolutions.halve, 2), (convolutions.slide, 1)]
)
def test_convolutions_are_those_of_lax(convolve, stride):
    images = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 3, 5))
    # float32: 48 products of order 1, summed in another order
    np.testing.assert_allclose(
        jax.jit(convolve)(images, kernel), oracle(images, kernel, stride), atol=2e-5
    )


def test_double_is_the_transpose_of_halve():
    images = jax.random.normal(jax.random.key(0), (2, 4, 3, 5))
    kernel = jax.random.normal(jax.random.key(1), (4, 4, 5, 3))
    shape = jax.ShapeDtypeStruct((2, 8, 6, 3), jnp.float32)
    forward = partial(oracle, kernel=kernel.transpose(0, 1, 3, 2), stride=2)
    (expected,) = jax.linear_transpose(forward, shape)(images)
    # float32: 4 x 5 products of order 1, summed in another order
    ours = jax.jit(convolutions.double)(images, kernel)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def random_values(make):
    """Return structure and parameters of order 1; initial ones take long to compile."""
    graph, params = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    random = np.random.default_rng(0)
    return graph, jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape, scale=0.2), x.dtype), params
    )


def test_layer_normalises_each_image_and_channel():
    make = partial(pix2pix.Layer, convolutions.halve, 3, 4, dtype=jnp.float32)
    graph, params = random_values(make)
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    ours = jax.jit(lambda images: nnx.merge(graph, params, copy=True)(images))(images)
    hidden = np.asarray(oracle(images, params["kernel"][...], 2), np.float64)
    mean, var = (f(hidden, axis=(1, 2), keepdims=True) for f in (np.mean, np.var))
    scale, bias = (np.asarray(params["norm"][name][...]) for name in ("scale", "bias"))
    expected = scale * (hidden - mean) / np.sqrt(var + 1e-5) + bias
    # float32: numbers of order 1
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_initial_values_are_those_published():
    make = partial(pix2pix.Layer, convolutions.halve, 16, 64, dtype=jnp.float32)
    params = pix2pix.initial_params(lambda rngs: make(rngs=rngs), jax.random.key(0))
    kernel, scale = params["kernel"][...], params["norm"]["scale"][...]
    # five standard errors of a deviation and of a mean
    np.testing.assert_allclose(np.std(kernel), 0.02, rtol=5 / np.sqrt(2 * kernel.size))
    np.testing.assert_allclose(np.std(scale), 0.02, rtol=5 / np.sqrt(2 * 64))
    np.testing.assert_allclose(np.mean(scale), 1, atol=5 * 0.02 / np.sqrt(64))
    np.testing.assert_array_equal(params["norm"]["bias"][...], np.zeros(64))


@pytest.fixture(scope="module")
def generator():
    """Return the smallest generator's parameters and its compiled forward pass."""
    graph, params = random_values(partial(pix2pix.Generator, 5, size=32, width=2))
    run = jax.jit(
        lambda params, labels, key: nnx.merge(graph, params, copy=True)(labels, key)
    )
    return params, run


@pytest.fixture(scope="module")
def labels():
    return jax.nn.one_hot(jax.random.randint(jax.random.key(2), (2, 32, 32), 0, 5), 5)


def test_every_layer_takes_part(generator, labels):
    """The innermost does too: it has no norm, which would make its one pixel a bias."""
    params, run = generator
    key = jax.random.key(0)
    photos = run(params, labels, key)
    leaves, structure = jax.tree.flatten(params)
    assert len(leaves) == 10 + 2 * 7 + 1
    for number, leaf in enumerate(leaves):
        changed = [*leaves[:number], 2 * leaf + 1, *leaves[number + 1 :]]
        others = run(jax.tree.unflatten(structure, changed), labels, key)
        assert np.abs(photos - others).max() > 0


def test_photos_are_bounded_and_independent_of_each_other(generator, labels):
    params, run = generator
    photos = run(params, labels, jax.random.key(0))
    assert photos.shape == (2, 32, 32, 3)
    assert np.abs(photos).max() <= 1
    others = run(params, labels.at[1].set(0), jax.random.key(0))
    np.testing.assert_array_equal(photos[0], others[0])
    assert np.abs(photos[1] - others[1]).max() > 0


def test_dropout_is_the_noise(generator, labels):
    params, run = generator
    same, again, other = (run(params, labels, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - other).max() > 0


def test_dropout_keeps_half_of_each_of_three_layers():
    make = partial(pix2pix.UNet, 3, 3, width=64, levels=5)
    net = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    kept = net.dropout(jax.random.key(0), 4)
    # twice the sides a layer: 512, 512 and 256 channels of an innermost image of 2x2
    assert [len(x) for x in kept] == [16 * 512, 64 * 256, 256 * 128]
    for x in kept:
        # five standard errors
        np.testing.assert_allclose(x.mean(), 0.5, atol=2.5 / np.sqrt(len(x)))


def test_discriminator_judges_patches_of_70_pixels():
    """The middle logit sees 70 of 128 rows: the kernels are square, so columns too."""
    graph, params = random_values(partial(pix2pix.Discriminator, 2, width=2))
    photo = jax.random.normal(jax.random.key(1), (128, 128, 3))
    changed = photo[None] + jnp.eye(128)[:, :, None, None]

    @jax.jit
    def judge(photos):
        model = nnx.merge(graph, params, copy=True)
        for layer in model.layers:
            layer.after = "nothing"  # the norm mixes all patches
        return model(jnp.zeros((*photos.shape[:3], 2)), photos)

    logits = judge(jnp.concatenate([photo[None], changed]))
    assert logits.shape == (129, 14, 14)
    rows = np.flatnonzero(logits[1:, 7, 7] != logits[0, 7, 7])
    assert len(rows) == np.ptp(rows) + 1 == 70


def test_only_activations_take_the_dtype():
    def make(dtype):
        return pix2pix.Generator(5, size=32, width=2, dtype=dtype, rngs=nnx.Rngs(0))

    graph, params = nnx.split(nnx.eval_shape(lambda: make(jnp.bfloat16)))
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    labels = jax.ShapeDtypeStruct((2, 32, 32, 5), jnp.float32)

    def forward(params, labels):
        model = nnx.merge(graph, params, copy=True)
        return model.net.down[1](labels[..., :2]), model(labels, jax.random.key(0))

    hidden, photo = jax.eval_shape(forward, params, labels)
    assert (hidden.dtype, photo.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize("pixels", [16, 48, 100])
def test_sizes_that_do_not_halve_to_one_pixel(pixels):
    match = f"size={pixels}; write a power of two from 32 on"
    with pytest.raises(ValueError, match=match):
        pix2pix.Generator(3, size=pixels, rngs=nnx.Rngs(0))
