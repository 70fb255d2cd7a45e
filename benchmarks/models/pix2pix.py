"""pix2pix: a U-Net as the generator, a PatchGAN as the discriminator.

The networks are those of the appendix of Isola et al., CVPR 2017 (arXiv 1611.07004).
Theirs normalise a batch of one image. That is instance normalisation, here with a scale
and a bias a channel.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from benchmarks.models.convolutions import double, halve, slide

After = Literal["norm", "bias", "nothing"]

WIDEST = 8  # times the width
LEAK = 0.2
EPSILON = 1e-5
DROPOUT = 0.5
DROPOUT_LAYERS = 3
SMALLEST = 32  # pixels a side: the discriminator's last two layers need 4 pixels
DEVIATION = 0.02  # of initial weights


def initial_params(make: Callable[[nnx.Rngs], nnx.Module], key: jax.Array) -> Any:
    """Draw parameters as published: kernels N(0, 0.02), scales N(1, 0.02), biases 0.

    All come from one draw: XLA takes half a minute to compile one for each layer.
    """
    abstract = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))[1]
    leaves, structure = jax.tree.flatten_with_path(abstract)
    *ends, size = np.cumsum([leaf.size for _, leaf in leaves]).tolist()
    draws = jnp.split(DEVIATION * jax.random.normal(key, (size,)), ends)

    def start(path: Any, leaf: Any, draw: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        if "bias" in name:
            return jnp.zeros(leaf.shape)
        return draw.reshape(leaf.shape) + ("scale" in name)

    values = [start(*leaf, draw) for leaf, draw in zip(leaves, draws, strict=True)]
    return jax.tree.unflatten(structure, values)


def leaky(images: jax.Array) -> jax.Array:
    return nnx.leaky_relu(images, LEAK)


class Layer(nnx.Module):
    """A convolution, then instance normalisation, or a bias or nothing instead.

    `initial_params` draws the values; those of a new layer are placeholders.

    Args:
      convolve: `halve`, `slide` or `double`.
      in_features, out_features: channels.
      after: what comes after the convolution.
      dtype: of the result; parameters and statistics are float32.
      rngs: of the placeholders.
    """

    def __init__(
        self,
        convolve: Callable[[jax.Array, jax.Array], jax.Array],
        in_features: int,
        out_features: int,
        *,
        after: After = "norm",
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.convolve, self.after, self.dtype = convolve, after, dtype
        shape = (4, 4, in_features, out_features)
        self.kernel = nnx.Param(jnp.zeros(shape))
        if after == "norm":
            self.norm = nnx.InstanceNorm(
                out_features, epsilon=EPSILON, dtype=dtype, rngs=rngs
            )
        elif after == "bias":
            self.bias = nnx.Param(jnp.zeros((1, 1, 1, out_features)))

    def __call__(self, images: jax.Array) -> jax.Array:
        kernel = self.kernel.astype(self.dtype)
        hidden = self.convolve(images.astype(self.dtype), kernel)
        if self.after == "norm":
            return self.norm(hidden)
        return hidden + self.bias.astype(self.dtype) if self.after == "bias" else hidden


class UNet(nnx.Module):
    """A network that halves an image `levels` times, then doubles it as often.

    A skip leads from each halved image to the doubled one of its size. The first layer,
    the innermost and the last have no norm. The innermost image of a generator is one
    pixel, which instance normalisation would make zero: the first published code did
    so and shut the layer off, the later code leaves the norm out.

    Args:
      in_features, out_features: channels of the images before and after.
      width: channels of the first layer; each has twice as many as the one outside it,
        up to 8 times the width.
      levels: number of halvings, at least 2.
      dtype: of the activations. Parameters, statistics and the result are float32.
      rngs: of the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int,
        levels: int,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = partial(Layer, dtype=dtype, rngs=rngs)
        down, up = [], []
        before, outwards = in_features, out_features
        for level in range(levels):
            features = width * min(2**level, WIDEST)
            outermost, innermost = level == 0, level == levels - 1
            bare: After = "nothing" if outermost or innermost else "norm"
            last: After = "bias" if outermost else "norm"
            down.append(layer(halve, before, features, after=bare))
            inner = features if innermost else 2 * features  # with the skip
            up.append(layer(double, inner, outwards, after=last))
            before = outwards = features
        self.down, self.up = nnx.List(down), nnx.List(reversed(up))

    def __call__(self, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Return images of shape (batch, height, width, out_features).

        `key` draws the dropout after the first three layers of the way up; None has no
        dropout.
        """
        hidden, skips = images, []
        for level, layer in enumerate(self.down):
            hidden = layer(leaky(hidden) if level else hidden)
            skips.append(hidden)
        hidden = skips.pop()
        kept = [] if key is None else self.dropout(key, hidden[..., 0].size)
        for number, layer in enumerate(self.up):
            hidden = layer(nnx.relu(hidden))
            if number < len(kept):
                of_layer = kept[number].reshape(hidden.shape)
                hidden = jnp.where(of_layer, hidden / (1 - DROPOUT), 0)
            if skips:
                hidden = jnp.concatenate([hidden, skips.pop()], axis=-1)
        return hidden.astype(jnp.float32)

    def dropout(self, key: jax.Array, pixels: int) -> list[jax.Array]:
        """Draw which values are kept after each layer that has dropout, flat.

        `pixels` counts those of all innermost images of a batch. There is one
        draw for all layers: XLA takes a second to compile another.
        """
        layers = list(self.up)[:DROPOUT_LAYERS]
        sizes = [
            pixels * 4**number * layer.kernel.shape[-1]
            for number, layer in enumerate(layers, start=1)
        ]
        kept = jax.random.bernoulli(key, 1 - DROPOUT, (sum(sizes),))
        return jnp.split(kept, np.cumsum(sizes)[:-1])


class Generator(nnx.Module):
    """A network from label maps to photos: a U-Net down to one pixel.

    At 256 pixels, width 64 and three channels on either side it has the published
    54.4 million parameters, 54,413,955.

    Dropout is the only noise, in training and in use, as published.

    Args:
      classes: number of classes of the label maps, a channel each.
      size: pixels a side of the square images, a power of two from 32 on.
      width: channels of the first layer; published: 64.
      dtype: of the activations. Parameters, statistics and the photo are float32.
      rngs: of the initial weights.
    """

    def __init__(
        self,
        classes: int,
        *,
        size: int,
        width: int = 64,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        levels = size.bit_length() - 1
        if size != 2**levels or size < SMALLEST:
            raise ValueError(
                f"size={size}; write a power of two from {SMALLEST} on: 64, 128 or 256."
            )
        self.net = UNet(classes, 3, width=width, levels=levels, dtype=dtype, rngs=rngs)

    def __call__(self, labels: jax.Array, key: jax.Array) -> jax.Array:
        """Return photos in [-1, 1], from labels (batch, size, size, classes)."""
        return jnp.tanh(self.net(labels, key))


class Discriminator(nnx.Module):
    """A network that tells whether each patch of 70x70 pixels of a photo is real.

    It sees the label map too.

    With width 64 and three channels of labels it has the published 2.77 million
    parameters, 2,768,705. The patches overlap the edges; in an image of 64 pixels
    nearly every patch covers all of it.

    Args:
      classes: number of classes of the label maps, a channel each.
      width: channels of the first layer; published: 64.
      dtype: of the activations. Parameters, statistics and logits are float32.
      rngs: of the initial weights.
    """

    def __init__(
        self,
        classes: int,
        *,
        width: int = 64,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        layer = partial(Layer, dtype=dtype, rngs=rngs)
        self.layers = nnx.List(
            [
                layer(halve, classes + 3, width, after="bias"),
                layer(halve, width, 2 * width),
                layer(halve, 2 * width, 4 * width),
                layer(slide, 4 * width, 8 * width),
            ]
        )
        self.last = layer(slide, 8 * width, 1, after="bias")

    def __call__(self, labels: jax.Array, photos: jax.Array) -> jax.Array:
        """Return logits, shape (batch, size / 8 - 2, size / 8 - 2)."""
        hidden = jnp.concatenate([labels, photos], axis=-1)
        for layer in self.layers:
            hidden = leaky(layer(hidden))
        return self.last(hidden)[..., 0].astype(jnp.float32)
