"""From one optimizer's state to another's: a run begun without an anchor goes on."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _validation
from prox_optax._anchor import is_anchored
from prox_optax._schedule import InnerDecayState


def carry_over(
    saved_state: optax.OptState, new_state: optax.OptState, step: ArrayLike
) -> optax.OptState:
    r"""Go on from another optimizer's state: moments carried over, the anchor new.

    For a run saved with ``optax.adam`` that goes on with :func:`tradam`, or back. Every
    array of ``new_state`` is replaced by that of the same name in ``saved_state``, bit
    for bit (:math:`m`, :math:`v`, :math:`b`, the counts); only the anchor stays that of
    ``new_state``. The anchor's and the inner decay's :math:`t` go on at ``step``:

    .. math:: t \leftarrow n, \qquad k \leftarrow n \bmod S

    so that the strength's schedule agrees with the learning rate's.

    Args:
      saved_state: the state to go on from, also as a checkpoint gives it back without a
        target (lists and dicts).
      new_state: what ``init`` of the new optimizer makes of the params saved with it.
      step: :math:`n \ge 0`, an integer: the updates the saved run has made.

    Returns:
      The state for the new optimizer, in the structure of ``new_state``; its arrays are
      those of the two states.

    Raises:
      TypeError, ValueError: for a step that is no integer >= 0; where an array of one
        state has no counterpart in the other, or one of another shape or dtype.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> w = jnp.array([1.0, 2.0])
      >>> adam, tradam = optax.adam(0.1), prox_optax.tradam(0.1)
      >>> _, saved_state = adam.update(2 * w, adam.init(w), w)
      >>> state = prox_optax.carry_over(saved_state, tradam.init(w), step=1)
      >>> int(optax.tree.get(state, "count"))
      1
    """
    _validation.check_step(step)
    saved: dict[str, list[Any]] = {}
    for path, leaf in _leaves(saved_state):
        saved.setdefault(_name(path), []).append((path, leaf))

    def carry(path: Any, node: Any) -> Any:
        if _is_ours(node):
            return _at_step(node, step)
        where = jax.tree_util.keystr(path)
        if not saved.get(_name(path)):
            raise ValueError(f"saved_state has nothing for new_state{where}; {_HINT}.")
        saved_path, leaf = saved[_name(path)].pop(0)
        _validation.check_counterpart(
            leaf, node, f"saved_state{jax.tree_util.keystr(saved_path)}", where
        )
        return leaf

    state = jax.tree_util.tree_map_with_path(carry, new_state, is_leaf=_is_ours)
    left = [path for pairs in saved.values() for path, _ in pairs]
    if left:
        where = jax.tree_util.keystr(left[0])
        raise ValueError(f"new_state has no place for saved_state{where}; {_HINT}.")
    return state


_HINT = (
    "build the new optimizer like the saved one (schedules, momentum, wrappers) but "
    "for the anchor, on the same params"
)


def _is_ours(node: Any) -> bool:
    return is_anchored(node) or isinstance(node, InnerDecayState)


def _leaves(state: optax.OptState) -> list[tuple[Any, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=_is_ours)
    return [(path, leaf) for path, leaf in leaves if not _is_ours(leaf)]


def _name(path: Any) -> str:
    """The fields on the way to a leaf, without the places in chains and lists."""
    keys = [key for key in path if not isinstance(key, jax.tree_util.SequenceKey)]
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def _at_step(node: Any, step: ArrayLike) -> Any:
    def at(t: jax.Array) -> jax.Array:
        n = jnp.full_like(t, step)
        return jnp.where(t < 0, ~n, n)  # the anchor was set: the next update keeps it

    if isinstance(node, InnerDecayState):
        return InnerDecayState(jax.tree.map(at, node.inner_step))
    return node._replace(step=jax.tree.map(at, node.step))
