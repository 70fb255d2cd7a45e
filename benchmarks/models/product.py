"""Products of activations with a matrix, and their gradients, summed in float32.

Factors are of any dtype. In bfloat16 they are what a CPU with such instructions
multiplies fastest, as long as neither a factor nor the sum is converted on the way;
JAX's own gradient of such a product converts one. The gradient that comes in and those
that go out are rounded to the factors' dtype.
"""

from typing import Any

import jax
import jax.numpy as jnp


def summed(x: jax.Array, y: jax.Array, *axes: Any) -> jax.Array:
    """Contract an axis, or several, of each factor; the result is float32."""
    numbers = axes, ((), ())
    found: jax.Array = jax.lax.dot_general(
        x, y, numbers, preferred_element_type=jnp.float32
    )
    return found


@jax.custom_vjp
def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Return x @ matrix in float32, of shape (..., out).

    Args:
      x: shape (..., in).
      matrix: shape (in, out), of the same dtype.
    """
    return summed(x, matrix, (x.ndim - 1,), (0,))


def forward(x: jax.Array, matrix: jax.Array) -> tuple[jax.Array, Any]:
    return product(x, matrix), (x, matrix)


def backward(factors: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, matrix = factors
    gradient = gradient.astype(x.dtype)
    every = tuple(range(x.ndim - 1))
    by_x = summed(gradient, matrix, (x.ndim - 1,), (1,))
    by_matrix = summed(x, gradient, every, every)
    return by_x.astype(x.dtype), by_matrix.astype(x.dtype)


product.defvjp(forward, backward)


def as_factors_are(x: jax.Array, matrix: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """Return the product in its factors' dtype, as the `dot_general` of a layer.

    What a layer asks for besides, such as a precision, is left out.
    """
    return product(x, matrix).astype(x.dtype)
