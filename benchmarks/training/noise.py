"""Extra noise in the gradient, independent in every step and every parameter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

Kind = Literal["no noise", "gaussian", "student-t"]


@dataclass(frozen=True)
class Noise:
    """What is added to every gradient.

    Attributes:
      kind: "gaussian", or "student-t" for 2 degrees of freedom: its variance is
        infinite, so that single steps go far astray.
      scale: factor of the standard distribution, in units of the gradient.
    """

    kind: Kind = "no noise"
    scale: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.scale:g}" if self.scale else self.kind


def perturb(noise: Noise) -> Callable[[Any, jax.Array], Any]:
    """The function from gradients and a key to noisy gradients."""
    if noise.scale == 0:
        return lambda grads, key: grads
    draw = {"gaussian": jax.random.normal, "student-t": student_t}[noise.kind]

    def add(grads: Any, key: jax.Array) -> Any:
        leaves, structure = jax.tree.flatten(grads)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            g + noise.scale * draw(k, g.shape)
            for g, k in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(structure, noisy)

    return add


def student_t(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Student's t with 2 degrees of freedom, float32, cut off at -2896 and 2048.

    Its quantile function is (2 p - 1) / sqrt(2 p (1 - p)); p is uniform on the float32
    numbers from 2**-24 to 1 - 2**-23.
    """
    p = jnp.maximum(jax.random.uniform(key, shape), 2.0**-24)
    return (2 * p - 1) / jnp.sqrt(2 * p * (1 - p))
