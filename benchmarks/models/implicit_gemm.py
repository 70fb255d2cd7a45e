"""3x3 convolutions by implicit GEMM: GPU programs that read the images in place.

A convolution as one matmul first writes patches, nine times the images. Here they are
never written. A program takes a block of pixels of the result. For each of the nine
places in the kernel it reads the pixels' neighbours from the images, multiplies them by
the kernel's matrix of that place and adds up the products in float32. Under `vmap`
there are programs for each member of the batch.

They are written with Pallas for its Triton back end, where numbers of channels are
powers of 2. With fewer than 16 channels of the images, patches are written after all.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as gpu

from benchmarks.models.convolutions import convolve_by_patches

TAPS = 9  # places in the kernel
PIXELS = 128  # that a program takes at once
CHANNELS = 64  # that a program takes at once, at most
SPLIT = 2048  # pixels that a program adds up for the gradient of the kernel
LEAST = 16  # channels of a matrix product in Triton


class Geometry(NamedTuple):
    """Where the pixels of a result have their neighbours in a source.

    Neighbour (i, j), each from -1 to 1, of the pixel in row r and column c is in row
    (r * stride + i) / up and column (c * stride + j) / up of the source. It exists
    where both are whole and inside.

    Attributes:
      out: height and width of the result.
      source: height and width of the source.
      stride: of a convolution; 1 for a transposed one.
      up: stride of a transposed convolution; 1 for another.
    """

    out: tuple[int, ...]
    source: tuple[int, ...]
    stride: int
    up: int

    def neighbours(self, pixels: jax.Array, tap: jax.Array) -> Any:
        """Return where the tap-th neighbours of pixels are, and which exist."""
        height, width = self.out
        line, column = divide(pixels, width)
        image, row = divide(line, height)
        down, right = divide(tap, 3)
        row = row * self.stride + down - 1
        column = column * self.stride + right - 1
        rows, columns = self.source
        inside = (row >= 0) & (row < rows * self.up)
        inside &= (column >= 0) & (column < columns * self.up)
        row, above = divide(row, self.up)
        column, before = divide(column, self.up)
        inside &= (above == 0) & (before == 0)
        return (image * rows + row) * columns + column, inside


def convolve_in_place(
    images: jax.Array, kernel: jax.Array, stride: int, *, interpret: bool = False
) -> jax.Array:
    """Convolve as `convolve_by_patches` does, but without patches of 3x3 pixels.

    `interpret` runs the programs of the GPU on a CPU, for tests.
    """
    if len(kernel) == 1 or (kernel.shape[2] < LEAST and not interpret):
        return convolve_by_patches(images, kernel, stride)
    return convolve3x3(images, kernel, stride, interpret)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve3x3(
    images: jax.Array, kernel: jax.Array, stride: int, interpret: bool
) -> jax.Array:
    """Convolve (n, height, width, c) with (3, 3, c, o), with a gradient of its own."""
    height, width = images.shape[1:3]
    out = height // stride, width // stride
    geometry = Geometry(out, (height, width), stride, 1)
    taps = kernel.reshape(TAPS, *kernel.shape[2:])
    return multiply_neighbours(geometry, images, taps, interpret)


def forward(
    images: jax.Array, kernel: jax.Array, stride: int, interpret: bool
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve3x3(images, kernel, stride, interpret), (images, kernel)


def backward(
    stride: int, interpret: bool, seen: tuple[jax.Array, jax.Array], grads: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = seen
    source, out = images.shape[1:3], grads.shape[1:3]
    turned = kernel[::-1, ::-1].swapaxes(2, 3).reshape(TAPS, *kernel.shape[:1:-1])
    of_images = multiply_neighbours(
        Geometry(source, out, 1, stride), grads, turned, interpret
    )
    of_kernel = kernel_gradient(
        Geometry(out, source, stride, 1), images, grads, interpret
    )
    return of_images, of_kernel.reshape(kernel.shape).astype(kernel.dtype)


convolve3x3.defvjp(forward, backward)


def multiply_neighbours(
    geometry: Geometry, source: jax.Array, taps: jax.Array, interpret: bool
) -> jax.Array:
    """Return for every pixel the sum of its neighbours times their matrices."""
    n, (_, features, outs) = len(source), taps.shape
    pixels = n * geometry.out[0] * geometry.out[1]
    block, together = min(outs, CHANNELS), min(features, CHANNELS)
    parts = features // together

    def program(source: Any, taps: Any, result: Any) -> None:
        pixel = pl.program_id(0) * PIXELS + jnp.arange(PIXELS)
        out = pl.program_id(1) * block + jnp.arange(block)

        def add(step: Any, total: jax.Array) -> jax.Array:
            tap, part = divide(step, parts)
            channel = part * together + jnp.arange(together)
            where, inside = geometry.neighbours(pixel, tap)
            seen = masked(source, where, channel, inside & (pixel < pixels))
            matrix = gpu.load(taps.at[tap, channel[:, None], out[None]])
            return total + product(seen, matrix)

        total = jax.lax.fori_loop(0, TAPS * parts, add, jnp.zeros((PIXELS, block)))
        gpu.store(
            result.at[pixel[:, None], out[None]],
            total.astype(result.dtype),
            mask=(pixel < pixels)[:, None],
        )

    grid = pl.cdiv(pixels, PIXELS), outs // block
    shape = jax.ShapeDtypeStruct((pixels, outs), source.dtype)
    flat = source.reshape(-1, features)
    result = launch(program, grid, shape, interpret)(flat, taps)
    return result.reshape(n, *geometry.out, outs)


def kernel_gradient(
    geometry: Geometry, source: jax.Array, grads: jax.Array, interpret: bool
) -> jax.Array:
    """Return the gradient of the matrices, (9, c, o): neighbours times gradients."""
    features, outs = source.shape[-1], grads.shape[-1]
    pixels = len(grads) * geometry.out[0] * geometry.out[1]
    rows, columns = min(features, CHANNELS), min(outs, CHANNELS)
    parts = pl.cdiv(pixels, SPLIT)

    def program(source: Any, grads: Any, result: Any) -> None:
        tap, part = divide(pl.program_id(0), parts)
        above, before = divide(pl.program_id(1), outs // columns)
        channel = above * rows + jnp.arange(rows)
        out = before * columns + jnp.arange(columns)

        def add(step: Any, total: jax.Array) -> jax.Array:
            pixel = part * SPLIT + step * PIXELS + jnp.arange(PIXELS)
            where, inside = geometry.neighbours(pixel, tap)
            seen = masked(source, where, channel, inside & (pixel < pixels))
            return total + product(seen.T, masked(grads, pixel, out, pixel < pixels))

        steps = pl.cdiv(min(SPLIT, pixels), PIXELS)
        total = jax.lax.fori_loop(0, steps, add, jnp.zeros((rows, columns)))
        gpu.store(result.at[part, tap, channel[:, None], out[None]], total)

    grid = TAPS * parts, (features // rows) * (outs // columns)
    shape = jax.ShapeDtypeStruct((parts, TAPS, features, outs), jnp.float32)
    flat = source.reshape(-1, features), grads.reshape(-1, outs)
    return launch(program, grid, shape, interpret)(*flat).sum(axis=0)


def divide(number: Any, by: int) -> tuple[Any, Any]:
    """Return quotient and rest of numbers from 0 on, as the hardware divides."""
    if by == 1:
        return number, jnp.zeros_like(number)
    return jax.lax.div(number, jnp.full_like(number, by)), jax.lax.rem(
        number, jnp.full_like(number, by)
    )


def masked(array: Any, rows: jax.Array, columns: jax.Array, mask: jax.Array) -> Any:
    """Load entries of a matrix; zeros in the rows that the mask leaves out."""
    place = array.at[rows[:, None], columns[None]]
    return gpu.load(place, mask=mask[:, None], other=0.0)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


def launch(
    program: Callable[..., None], grid: Any, shape: Any, interpret: bool
) -> Callable[..., jax.Array]:
    """Return a function of arrays that runs a program at every place of a grid."""
    params = None if interpret else gpu.CompilerParams(num_warps=4, num_stages=2)
    launched: Callable[..., jax.Array] = pl.pallas_call(
        program,
        out_shape=shape,
        grid=grid,
        compiler_params=params,
        interpret=interpret,
        name=program.__qualname__.split(".")[0],
    )
    return launched
