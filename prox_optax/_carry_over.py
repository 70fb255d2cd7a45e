"""From one optimizer's state to another's: a run begun without an anchor goes on."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey, SequenceKey
from jax.typing import ArrayLike

from prox_optax._placement import is_concrete
from prox_optax._schedule import InnerDecayState
from prox_optax._states import State, is_anchored
from prox_optax._validation import STEP, check_number

_Keys: TypeAlias = tuple[str, ...]


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

    Under ``optax.inject_hyperparams`` the state holds hyperparameters too. Those that
    both states hold are the saved ones, the learning rate among them: they may have
    been changed by hand while the run went on, as at a resume of one optimizer. To
    begin with another value, write it into ``hyperparams`` of the returned state. Those
    that only one state holds, such as ``lambda_w`` and ``period``, stay those of the
    new optimizer.

    Args:
      saved_state: the state to go on from, as the optimizer left it, or as a checkpoint
        gives it back without a target: dicts and lists (Orbax), or dicts whose keys
        '0', '1', ..., '10' stand for places (``flax.serialization``), which are read
        in the order of the numbers. Arrays may be NumPy's.
      new_state: what ``init`` of the new optimizer makes of the params saved with it.
      step: :math:`n \ge 0`, an integer: the updates the saved run has made.

    Returns:
      The state for the new optimizer, in the structure of ``new_state``. Its arrays are
      those of the two states; NumPy's become JAX's, placed as in ``new_state``.

    Raises:
      TypeError, ValueError: for a step that is no integer >= 0; where an array of one
        state has no counterpart in the other, or one of another shape or dtype; where
        several have one name and their order does not tell which is which; for a
        schedule in ``inject_hyperparams`` that the saved run did not have.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> w = jnp.array([1.0, 2.0])
      >>> adam, tradam = optax.adam(0.1), prox_optax.tradam(0.1)
      >>> _, saved_state = adam.update(2 * w, adam.init(w), w)
      >>> state = prox_optax.carry_over(saved_state, tradam.init(w), step=1)
      >>> int(optax.tree.get(state, "count"))
      1
    """
    check_number("step", step, STEP, "write the number of updates made")
    saved, new = _arrays(saved_state, _is_any), _arrays(new_state, _is_ours)
    _check_new_schedules(saved, new)
    carried = _counterparts(
        _without(_hyperparameters(saved) - _hyperparameters(new), saved),
        _without(_hyperparameters(new) - _hyperparameters(saved), new),
        _parameters(saved_state) | _parameters(new_state),
    )

    def carry(path: Any, node: Any) -> Any:
        if _is_ours(node):
            return _at_step(node, step)
        return carried.get(_keys(path), node)

    return jax.tree_util.tree_map_with_path(carry, new_state, is_leaf=_is_ours)


_HINT = (
    "build the new optimizer like the saved one (schedules, momentum, wrappers) but "
    "for the anchor, on the same params"
)


class _Array(NamedTuple):
    path: Any
    value: Any

    def where(self) -> str:
        return jax.tree_util.keystr(self.path)


_Arrays: TypeAlias = dict[_Keys, _Array]


def _arrays(state: optax.OptState, is_ours: Callable[[Any], bool]) -> _Arrays:
    """The arrays of a state but for ours, by the keys on the way to them."""
    return {
        _keys(path): _Array(path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_ours)
        if not is_ours(leaf)
    }


def _keys(path: Any) -> _Keys:
    """The path as text, the same however the state was saved.

    Flax NNX ends it with "value", the array in a container. Without that no two leaves
    of a tree fall together, since none lies below another.
    """
    keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
    while keys and keys[-1] == "value":
        keys.pop()
    return tuple(keys)


def _is_ours(node: Any) -> bool:
    return is_anchored(node) or isinstance(node, InnerDecayState)


def _is_any(node: Any) -> bool:
    return _is_ours(node) or _is_restored(node)


def _is_restored(node: Any) -> bool:
    """Whether ``node`` is a state of ours that came back as a dict of its fields.

    Params may have these names too: their arrays are no integers.
    """
    if not isinstance(node, Mapping):
        return False
    for kind in (*get_args(State), InnerDecayState):
        if set(node) == set(kind._fields):
            steps = jax.tree.leaves(node[kind._fields[-1]])
            dtypes = [jnp.result_type(step) for step in steps]
            return dtypes != [] and all(jnp.issubdtype(t, jnp.integer) for t in dtypes)
    return False


def _parameters(state: optax.OptState) -> set[_Keys]:
    """The keys of the params, as the anchors in ``state`` know them."""
    nodes = [node for node in jax.tree.leaves(state, is_leaf=_is_any) if _is_any(node)]
    fields = [node if isinstance(node, Mapping) else node._asdict() for node in nodes]
    anchors = [node.get("anchor", node.get("code")) for node in fields]
    paths = [jax.tree_util.tree_leaves_with_path(anchor) for anchor in anchors]
    return {_keys(path) for pairs in paths for path, _ in pairs}


def _counterparts(
    saved: _Arrays, new: _Arrays, parameters: set[_Keys]
) -> dict[_Keys, Any]:
    """The array of ``saved`` for each of ``new``: same names, in the same order."""
    saved_fields, new_fields = _fields(saved), _fields(new)
    carried = {}
    for olds, news in _groups(saved, new):
        for old, place in zip(olds, news, strict=False):
            alike = _fits(old, new[place].path, parameters) and (
                len(news) == 1 or saved_fields[old[:-1]] == new_fields[place[:-1]]
            )
            if not alike:
                raise ValueError(
                    f"saved_state{saved[old].where()} and new_state{new[place].where()}"
                    f" have the same names, but not the same place; {_HINT}."
                )
            carried[place] = _checked(saved[old], new[place])
        if len(olds) < len(news):
            where = new[news[len(olds)]].where()
            raise ValueError(f"saved_state has nothing for new_state{where}; {_HINT}.")
        if len(olds) > len(news):
            where = saved[olds[len(news)]].where()
            raise ValueError(f"new_state has no place for saved_state{where}; {_HINT}.")
    return carried


def _groups(saved: _Arrays, new: _Arrays) -> list[tuple[list[_Keys], list[_Keys]]]:
    """Those of the same names in both, each in the order of the numbers."""
    groups: dict[_Keys, tuple[list[_Keys], list[_Keys]]] = {}
    for side, arrays in ((1, new), (0, saved)):
        for keys in sorted(arrays, key=_in_order):
            groups.setdefault(_names(keys), ([], []))[side].append(keys)
    return list(groups.values())


def _names(keys: _Keys) -> _Keys:
    """The fields on the way to an array, without the places in chains and lists."""
    return tuple(key for key in keys if not key.isdecimal())


def _in_order(keys: _Keys) -> list[tuple[int, str]]:
    """Sort '10' behind '2'."""
    return [(int(key) if key.isdecimal() else -1, key) for key in keys]


def _fields(arrays: _Arrays) -> dict[_Keys, set[str]]:
    """The names right below each node: they tell one kind of state from another."""
    fields: dict[_Keys, set[str]] = {}
    for keys in arrays:
        for i, key in enumerate(keys):
            fields.setdefault(keys[:i], set()).update(_names((key,)))
    return fields


def _fits(saved: _Keys, path: Any, parameters: set[_Keys]) -> bool:
    """Whether ``saved`` differs from ``path`` in the places of chains alone.

    The part that names a parameter has to be the same, numbers too. It begins at the
    last field, or before it, where an anchor shows that the params have fields.
    """
    keys = _keys(path)
    fields = [i for i, key in enumerate(path) if isinstance(key, GetAttrKey)]
    cut = max((i for i in fields if i < len(keys)), default=len(keys))
    cut = next((i for i in range(cut) if keys[i:] in parameters), cut)
    cut_saved = len(saved) - len(keys) + cut
    if cut_saved < 0 or saved[cut_saved:] != keys[cut:]:
        return False
    chained = (isinstance(key, SequenceKey) for key in path)
    wanted = [key for key, place in zip(keys[:cut], chained, strict=False) if not place]
    for key in reversed(saved[:cut_saved]):
        if wanted and wanted[-1] == key:
            wanted.pop()
        elif not key.isdecimal():
            return False
    return not wanted


def _checked(saved: _Array, new: _Array) -> Any:
    """The saved array, if it has the shape and dtype of the new one."""
    (dtype, shape), (new_dtype, new_shape) = map(_type, (saved.value, new.value))
    if (dtype, shape) != (new_dtype, new_shape):
        raise ValueError(
            f"saved_state{saved.where()} is {dtype}{list(shape)}, "
            f"new_state{new.where()} {new_dtype}{list(new_shape)}; build the new "
            "optimizer on the same params, with the same dtypes."
        )
    return _of_jax(saved.value, new.value)


def _type(x: Any) -> tuple[Any, tuple[int, ...]]:
    # For NumPy's float64 result_type would say float32 where x64 is off.
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x), jnp.shape(x)


def _of_jax(saved: Any, new: Any) -> Any:
    if isinstance(saved, jax.Array):
        return saved
    if is_concrete(new) and new.committed:
        return jax.device_put(saved, new.sharding)
    return jnp.asarray(saved)


def _hyperparameters(arrays: _Arrays) -> set[_Keys]:
    """The names of all that ``optax.inject_hyperparams`` holds."""
    names = {_hyperparameter(keys, arrays) for keys in arrays}
    return {name for name in names if name}


def _hyperparameter(keys: _Keys, arrays: _Arrays) -> _Keys:
    """Of which hyperparameter this is the value or the schedule's state; () of none."""
    for i, key in enumerate(keys[:-1]):
        injected = key in ("hyperparams", "hyperparams_states")
        if injected and (*keys[:i], "count") in arrays:
            return (*_names(keys[:i]), keys[i + 1])
    return ()


def _without(hyperparameters: set[_Keys], arrays: _Arrays) -> _Arrays:
    return {
        keys: array
        for keys, array in arrays.items()
        if _hyperparameter(keys, arrays) not in hyperparameters
    }


def _check_new_schedules(saved: _Arrays, new: _Arrays) -> None:
    """A schedule under a hyperparameter that the saved run did not have."""
    of_saved = _hyperparameters(saved)
    for keys, array in new.items():
        name = _hyperparameter(keys, new)
        if name and name not in of_saved and "hyperparams_states" in keys:
            raise ValueError(
                f"saved_state has nothing for the schedule new_state{array.where()}; "
                f"write optax.inject_hyperparams(..., static_args={name[-1]!r}): then "
                "the schedule goes on at step."
            )


def _at_step(node: Any, step: ArrayLike) -> Any:
    def at(t: jax.Array) -> jax.Array:
        n = jnp.full_like(t, step)
        return jnp.where(t < 0, ~n, n)  # the anchor was set: the next update keeps it

    if isinstance(node, InnerDecayState):
        return InnerDecayState(jax.tree.map(at, node.inner_step))
    return node._replace(step=jax.tree.map(at, node.step))
