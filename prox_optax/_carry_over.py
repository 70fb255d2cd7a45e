"""Going on from another optimizer's state: from a run without an anchor, or back."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey, SequenceKey
from jax.typing import ArrayLike

from prox_optax._placement import is_concrete
from prox_optax._schedule import InnerDecayState
from prox_optax._states import Anchored
from prox_optax._validation import STEP, check_number

_Keys: TypeAlias = tuple[str, ...]
_KINDS = (*get_args(Anchored), InnerDecayState)


def carry_over(
    saved_state: optax.OptState, new_state: optax.OptState, step: ArrayLike
) -> optax.OptState:
    r"""Go on from another optimizer's state: moments carried over, the anchor new.

    Use it where a run saved with ``optax.adam`` goes on with :func:`tradam`, or back.
    Every array of ``new_state`` is replaced by that of the same name in
    ``saved_state``, bit for bit (:math:`m`, :math:`v`, :math:`b`, the counts); only the
    anchor stays that of ``new_state``, and with it the outer optimizer's state of
    :func:`outer`. The anchor's and the inner decay's :math:`t` go on at ``step``:

    .. math:: t \leftarrow n, \qquad k \leftarrow n \bmod S

    so that the strength's schedule agrees with the learning rate's. The new anchor is
    what ``init`` was given, so ``init(restored_params)`` anchors at the restored
    params; :func:`set_anchor` afterwards sets another, such as the pretrained weights.

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
    saved, new = _arrays(saved_state, _is_ours_or_dict), _arrays(new_state, _is_ours)
    of_saved, of_new = _hyperparameters(saved), _hyperparameters(new)
    _check_new_schedules(new, of_new, set(of_saved.values()))
    shared = {(), *of_saved.values()} & {(), *of_new.values()}
    carried = _carried(
        {keys: saved[keys] for keys, name in of_saved.items() if name in shared},
        {keys: new[keys] for keys, name in of_new.items() if name in shared},
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
    """Hold an array of a state, with the path to it."""

    path: Any
    value: Any

    def where(self) -> str:
        return jax.tree_util.keystr(self.path)

    def type(self) -> str:
        # For NumPy's float64 result_type would say float32 where x64 is off.
        x = self.value
        dtype = x.dtype if hasattr(x, "dtype") else jnp.result_type(x)
        return f"{dtype}{list(jnp.shape(x))}"


_Arrays: TypeAlias = dict[_Keys, _Array]


def _arrays(state: optax.OptState, is_ours: Callable[[Any], bool]) -> _Arrays:
    """Return the arrays of a state by the keys on the way to them, without ours."""
    return {
        _keys(path): _Array(path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_ours)
        if not is_ours(leaf)
    }


def _keys(path: Any) -> _Keys:
    """Return the keys of a path as text, the same however the state was saved.

    Flax NNX ends a path with "value", the array in a container: that is left out. Two
    leaves of a tree do not fall together so, since none lies below another.
    """
    keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
    while keys and keys[-1] == "value":
        keys.pop()
    return tuple(keys)


def _is_ours(node: Any) -> bool:
    return isinstance(node, _KINDS)


def _is_ours_or_dict(node: Any) -> bool:
    return _kind(node) is not None


def _kind(node: Any) -> Any:
    """Return the kind of state of ours that ``node`` is, or is a dict of the fields of.

    Params may have these names too: their arrays are no integers.
    """
    for kind in _KINDS:
        if isinstance(node, kind):
            return kind
        if isinstance(node, Mapping) and set(node) == set(kind._fields):
            steps = jax.tree.leaves(node[kind._fields[-1]])
            dtypes = [jnp.result_type(step) for step in steps]
            if dtypes and all(jnp.issubdtype(t, jnp.integer) for t in dtypes):
                return kind
    return None


def _parameters(state: optax.OptState) -> set[_Keys]:
    """Return the keys of the params, as the anchors in ``state`` know them."""
    found = set()
    for node in jax.tree.leaves(state, is_leaf=_is_ours_or_dict):
        if kind := _kind(node):
            field = kind._fields[0] if isinstance(node, Mapping) else 0
            paths = jax.tree_util.tree_leaves_with_path(node[field])
            found |= {_keys(path) for path, _ in paths}
    return found


def _carried(saved: _Arrays, new: _Arrays, parameters: set[_Keys]) -> dict[_Keys, Any]:
    """Return the array of ``saved`` for each of ``new``: same names, same order."""
    saved_fields, new_fields = _names_below(saved), _names_below(new)
    found = {}
    for olds, news in _groups(saved, new):
        for old, place in zip(olds, news, strict=False):
            alike = _same_place(old, new[place].path, parameters) and (
                len(news) == 1 or saved_fields[old[:-1]] == new_fields[place[:-1]]
            )
            if not alike:
                raise ValueError(
                    f"saved_state{saved[old].where()} and new_state{new[place].where()}"
                    f" have the same names, but not the same place; {_HINT}."
                )
            found[place] = _of_same_type(saved[old], new[place])
        if len(olds) < len(news):
            where = new[news[len(olds)]].where()
            raise ValueError(f"saved_state has nothing for new_state{where}; {_HINT}.")
        if len(olds) > len(news):
            where = saved[olds[len(news)]].where()
            raise ValueError(f"new_state has no place for saved_state{where}; {_HINT}.")
    return found


def _groups(saved: _Arrays, new: _Arrays) -> list[tuple[list[_Keys], list[_Keys]]]:
    """Return the arrays that have the same names in both states, sorted by place."""
    groups: dict[_Keys, tuple[list[_Keys], list[_Keys]]] = {}
    for side, arrays in ((1, new), (0, saved)):
        for keys in sorted(arrays, key=_in_order):
            groups.setdefault(_unplaced(keys), ([], []))[side].append(keys)
    return list(groups.values())


def _unplaced(keys: _Keys) -> _Keys:
    """Return the names on the way to an array, without places in chains and lists."""
    return tuple(key for key in keys if not key.isdecimal())


def _in_order(keys: _Keys) -> list[tuple[int, str]]:
    """Return what sorts '10' behind '2'."""
    return [(int(key) if key.isdecimal() else -1, key) for key in keys]


def _names_below(arrays: _Arrays) -> dict[_Keys, set[str]]:
    """Return the names right below each node, which tell kinds of states apart."""
    fields: dict[_Keys, set[str]] = {}
    for keys in arrays:
        for i, key in enumerate(keys):
            fields.setdefault(keys[:i], set()).update(_unplaced((key,)))
    return fields


def _same_place(saved: _Keys, path: Any, parameters: set[_Keys]) -> bool:
    """Tell whether ``saved`` differs from ``path`` in the places of chains alone.

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


def _of_same_type(saved: _Array, new: _Array) -> Any:
    """Return the saved array as JAX's, once it has the shape and dtype of the new."""
    if saved.type() != new.type():
        raise ValueError(
            f"saved_state{saved.where()} is {saved.type()}, new_state{new.where()} "
            f"{new.type()}; build the new optimizer on the same params, with the same "
            "dtypes."
        )
    if isinstance(saved.value, jax.Array):
        return saved.value
    if is_concrete(new.value) and new.value.committed:
        return jax.device_put(saved.value, new.value.sharding)
    return jnp.asarray(saved.value)


def _hyperparameters(arrays: _Arrays) -> dict[_Keys, _Keys]:
    """Return the hyperparameter that each array belongs to, () where it does to none.

    It is its value, or of the state of its schedule, as ``optax.inject_hyperparams``
    keeps them.
    """
    found: dict[_Keys, _Keys] = dict.fromkeys(arrays, ())
    for keys in arrays:
        for i, key in enumerate(keys[:-1]):
            injected = key in ("hyperparams", "hyperparams_states")
            if injected and (*keys[:i], "count") in arrays:
                found[keys] = (*_unplaced(keys[:i]), keys[i + 1])
                break
    return found


def _check_new_schedules(
    new: _Arrays, of_new: dict[_Keys, _Keys], saved: set[_Keys]
) -> None:
    """Refuse a schedule under a hyperparameter that the saved run did not have."""
    for keys, name in of_new.items():
        if name and name not in saved and "hyperparams_states" in keys:
            raise ValueError(
                "saved_state has nothing for the schedule "
                f"new_state{new[keys].where()}; write optax.inject_hyperparams(..., "
                f"static_args={name[-1]!r}): then the schedule goes on at step."
            )


def _at_step(node: Any, step: ArrayLike) -> Any:
    """Return a state of ours whose last field, its counter, is at ``step``."""

    def at(t: jax.Array) -> jax.Array:
        n = jnp.full_like(t, step)
        return jnp.where(t < 0, ~n, n)  # the anchor was set: the next update keeps it

    last = node._fields[-1]
    return node._replace(**{last: jax.tree.map(at, getattr(node, last))})
