"""Noise that is added to gradients, independent in every step and every parameter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

Perturb = Callable[[Any, jax.Array], Any]
"""From gradients and a key to the gradients that the optimizer gets."""

Kind = Literal["no noise", "gaussian", "student-t"]


@dataclass(frozen=True)
class Noise:
    """The distribution of what is added to every gradient.

    Attributes:
      kind: "gaussian", or "student-t" for 2 degrees of freedom: its variance is
        infinite, so that single steps go far astray.
      scale: factor of the standard distribution, in units of the gradient.
    """

    kind: Kind = "no noise"
    scale: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.scale:g}" if self.scale else self.kind


def no_noise(grads: Any, key: jax.Array) -> Any:
    """Return the gradients as they are."""
    return grads


def perturb(noise: Noise) -> Perturb:
    """Return the function that adds noise to gradients."""
    if noise.scale == 0:
        return no_noise
    draw = {"gaussian": jax.random.normal, "student-t": student_t}[noise.kind]

    def add(grads: Any, key: jax.Array) -> Any:
        drawn = optax.tree.random_like(key, grads, draw)
        return jax.tree.map(lambda g, x: g + noise.scale * x, grads, drawn)

    return add


def student_t(
    key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32
) -> jax.Array:
    """Draw Student's t with 2 degrees of freedom, cut off at -2896 and 2048.

    The quantile function is (2 p - 1) / sqrt(2 p (1 - p)); p is uniform on the float32
    numbers from 2**-24 to 1 - 2**-23.
    """
    p = jnp.maximum(jax.random.uniform(key, shape, dtype), 2.0**-24)
    return (2 * p - 1) / jnp.sqrt(2 * p * (1 - p))
