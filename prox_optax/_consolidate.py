"""One Fisher information and one anchor of several tasks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from prox_optax import _tree_checks, _validation
from prox_optax._match import keys_to, matched, named, names
from prox_optax._placement import wide_dtype
from prox_optax._types import Params


def consolidate(
    fisher: Params,
    anchor: Params,
    new_fisher: Params,
    new_anchor: Params,
    decay: ArrayLike = 1.0,
) -> tuple[Params, Params]:
    r"""Put the pulls of old tasks and of a new one into one Fisher and one anchor.

    Two quadratic penalties are one, up to a constant:

    .. math::

      \gamma F_1 (w - a_1)^2 + F_2 (w - a_2)^2 = F (w - a)^2 + \text{const.}, \qquad
      F = \gamma F_1 + F_2, \quad a = \frac{\gamma F_1 a_1 + F_2 a_2}{F}

    with :math:`a = a_2` where :math:`F = 0`. So the memory of any number of tasks is
    one Fisher and one anchor. Call it at the end of each task, with the result of the
    call before; the first task needs none.

    Args:
      fisher: :math:`F_1 \ge 0`, of the tasks so far: what :func:`fisher_diagonal`,
        :func:`fisher_from_adam` or this function returned.
      anchor: :math:`a_1`, of the tasks so far.
      new_fisher: :math:`F_2 \ge 0`, of the task that has ended, at its last params.
      new_anchor: :math:`a_2`, the params at its end. Where the Fishers are masked
        these are kept.
      decay: :math:`\gamma` in [0, 1]: below 1 older tasks are forgotten by and by.

    Returns:
      :math:`F`, in the structure of ``new_fisher``, and :math:`a`, in the structure and
      the dtypes of ``new_anchor``: a strength for :func:`proximal` (times
      :math:`\lambda / 2`), and what :func:`set_anchor` takes.

    Raises:
      TypeError, ValueError: for trees that do not fit each other, a Fisher that is not
        real, or (outside ``jit``) below 0 or not finite, and a decay out of range.

    Example:
      >>> import jax.numpy as jnp, prox_optax
      >>> prox_optax.consolidate(
      ...     jnp.array([1.0, 0.0]), jnp.array([0.0, 0.0]),
      ...     jnp.array([3.0, 0.0]), jnp.array([2.0, 2.0]),
      ... )
      (Array([4., 0.], dtype=float32), Array([1.5, 2. ], dtype=float32))

    Reference:
      Schwarz et al., "Progress & Compress" (online EWC), ICML 2018,
      https://arxiv.org/abs/1805.06370
    """
    hint = "write decay=1.0 to keep all tasks, or a number below 1 to forget old ones"
    _validation.check_number("decay", decay, _validation.SHARE, hint)
    trees = {"fisher": fisher, "anchor": anchor, "new_anchor": new_anchor}
    f1, a1, a2 = (
        matched(tree, new_fisher, f"{name} does not fit new_fisher:")
        for name, tree in trees.items()
    )
    f2 = jax.tree.leaves(new_fisher)
    for index, leaves in enumerate(zip(f1, a1, f2, a2, strict=True)):
        _check_leaves(keys_to(new_fisher, index), *leaves)
    sums = [_summed(*leaves, decay) for leaves in zip(f1, a1, f2, a2, strict=True)]
    moved = dict(zip(named(new_fisher), (a for _, a in sums), strict=True))
    return (
        jax.tree.unflatten(jax.tree.structure(new_fisher), [f for f, _ in sums]),
        jax.tree_util.tree_map_with_path(
            lambda path, a: moved.get(names(path), a), new_anchor
        ),
    )


def _check_leaves(keys: str, f1: Any, a1: Any, f2: Any, a2: Any) -> None:
    """Raise unless the leaves of two tasks fit, and their Fishers are Fishers."""
    shapes = [jnp.shape(x) for x in (f1, a1, f2, a2)]
    if len({*shapes}) > 1:
        raise ValueError(
            f"leaf {keys or '(a single array)'} has the shapes {shapes} in fisher, "
            "anchor, new_fisher and new_anchor; give trees of one network."
        )
    for name, f in (("fisher", f1), ("new_fisher", f2)):
        if not jnp.isrealobj(f):
            raise TypeError(
                f"{name}{keys} is {_tree_checks.in_words(f)}; a Fisher information is "
                "real, as fisher_diagonal returns it."
            )
        known = not isinstance(f, jax.core.Tracer)
        if known and not (jnp.all(f >= 0) and jnp.all(f < math.inf)):
            raise ValueError(
                f"{name}{keys} has entries below 0 or not finite; a Fisher information "
                "is a mean of squares, as fisher_diagonal returns it."
            )


@jax.jit
def _summed(
    f1: jax.Array, a1: jax.Array, f2: jax.Array, a2: jax.Array, decay: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return F and a of a leaf, in float32 or wider; a in the dtype of ``a2``."""
    wide = wide_dtype(f1, f2)
    old, new = decay * f1.astype(wide), f2.astype(wide)
    total = old + new
    known = total > 0
    over = jnp.where(known, total, 1)
    a = (old / over) * a1 + (new / over) * a2
    return total, jnp.where(known, a, a2).astype(a2.dtype)
