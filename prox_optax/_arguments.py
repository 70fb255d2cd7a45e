"""What a number or schedule given as an argument may be."""

from typing import Any, TypeGuard

import jax
import optax


def is_schedule(value: Any) -> TypeGuard[optax.Schedule]:
    """Whether ``value`` is a function of the step, and not a tree that can be called.

    The module of a network is both a tree and callable: it is taken as a tree.
    """
    is_partial = isinstance(value, jax.tree_util.Partial)
    return callable(value) and (is_partial or jax.tree_util.all_leaves([value]))
