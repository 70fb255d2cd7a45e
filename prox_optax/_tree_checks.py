"""Errors about trees and states that do not fit what they are used with."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import keystr, tree_flatten_with_path, tree_leaves_with_path
from jax.typing import ArrayLike

from prox_optax._compact import CompactState
from prox_optax._match import Names, matched, named, names
from prox_optax._validation import is_compact


def check_params(params: Any, anchor_dtype: Any) -> None:
    """Each leaf of ``params`` is a floating or complex array."""
    for path, w in tree_leaves_with_path(params):
        dtype = jnp.result_type(w)
        leaf = "params" + keystr(path)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"{leaf} has dtype {dtype}: only floating or complex parameters can be "
                "pulled; keep the others out with optax.masked."
            )
        if jnp.finfo(dtype).bits < 16:
            raise TypeError(
                f"{leaf} has dtype {dtype}, which JAX promotes to no other: keep the "
                "params in bfloat16 or float32 and cast them for the computation."
            )
        if is_compact(anchor_dtype):
            if dtype not in (jnp.float32, jnp.float64):
                raise TypeError(
                    f"{leaf} has dtype {dtype}: anchor_dtype='int16' saves memory for "
                    "params of float32 or float64; write anchor_dtype=None."
                )
        elif anchor_dtype is not None and (
            jnp.issubdtype(dtype, jnp.complexfloating)
            != jnp.issubdtype(jnp.dtype(anchor_dtype), jnp.complexfloating)
        ):
            raise TypeError(
                f"{leaf} has dtype {dtype} and anchor_dtype is "
                f"{jnp.dtype(anchor_dtype).name}: both must be real or both complex; "
                "write anchor_dtype=None."
            )


def check_update(u: jax.Array, w: jax.Array) -> None:
    """An update has the shape of its parameter: nothing is broadcast."""
    if jnp.shape(u) != jnp.shape(w):
        raise ValueError(
            f"an update has shape {jnp.shape(u)}, its parameter {jnp.shape(w)}; pass "
            "gradients with respect to these params."
        )


def check_updates(updates: Any, params: Any) -> list[Names]:
    """Return the leaves' names; a None may stand for the updates of a part."""
    what = "updates do not fit the params:"
    none = [u is None for u in jax.tree.leaves(updates, is_leaf=lambda u: u is None)]
    if not any(none):
        matched(updates, params, what)
    wanted = named(params)
    for path, _ in tree_leaves_with_path(updates):
        if names(path) not in wanted:
            raise ValueError(
                f"{what} leaf {keystr(path)} is extra; give gradients "
                "with respect to the params that init was given."
            )
    return list(wanted)


def check_gradients(gradients: Any, params: Any) -> list[Any]:
    """Return the gradient of each leaf of ``params``, of the same shape."""
    gs = matched(gradients, params, "gradients do not fit the params:")
    jax.tree.map(check_update, gs, jax.tree.leaves(params))
    return gs


def check_shapes(ws: list[Any], held: Any, where: str) -> None:
    """Check that params have the shapes of what a state holds of them."""
    paths, _ = tree_flatten_with_path(held)
    for w, (path, a) in zip(ws, paths, strict=True):
        if jnp.shape(w) != jnp.shape(a):
            raise ValueError(
                f"params do not fit the anchor {where}: leaf "
                f"{keystr(path)} has shape {jnp.shape(w)}, the anchor "
                f"{jnp.shape(a)}; call init again after changing the parameters."
            )


def refuse_foreign_state(state: Any) -> None:
    """Say what a state is that is none of a pull's."""
    if isinstance(state, Mapping | list | str):  # of Flax the keys: '0', '1', ...
        raise ValueError(
            "this is a state as a checkpoint gives it back without a target: dicts and "
            "lists, not what init makes; restore it with a target such as "
            "jax.eval_shape(init, params), or write prox_optax.carry_over("
            "restored_state, init(params), step), which takes a new anchor."
        )
    raise ValueError(
        "this is the state of an optimizer without an anchor; pass the state that "
        "init of this one made, or for a run saved without an anchor "
        "prox_optax.carry_over(saved_state, init(params), step)."
    )


def check_restored(state: Any, ws: list[Any], anchor_dtype: Any) -> None:
    """Check a state that may come from a checkpoint, for the params ``ws``."""
    check_step("step", state.step)
    check_readable(state, ws)
    if is_compact(anchor_dtype) != isinstance(state, CompactState):
        raise ValueError(
            f"the state is a {type(state).__name__} and the optimizer has "
            f"anchor_dtype={anchor_dtype!r}; build it as it was when the state was "
            "made, or call prox_optax.carry_over(saved_state, init(params), step)."
        )
    if is_compact(anchor_dtype):
        return
    for w, (path, a) in zip(ws, tree_flatten_with_path(state.anchor)[0], strict=True):
        dtype = w.dtype if anchor_dtype is None else anchor_dtype
        kept = jax.dtypes.canonicalize_dtype(dtype)
        if jnp.promote_types(kept, a.dtype) != a.dtype:
            raise ValueError(
                f"anchor{keystr(path)} in the state is {a.dtype} and this optimizer "
                f"keeps it as {kept}; {_RESTORE}, or write anchor_dtype='{a.dtype}'."
            )


def check_step(name: str, step: Any) -> None:
    """Check a counter of steps in a state."""
    number = _only(step)
    if not _is_integer(number) or jnp.shape(number) != ():
        raise ValueError(
            f"the state's {name} is {_kind(number)} and must be one integer, int32[]; "
            f"{_RESTORE}."
        )


def refuse_no_inner_decay() -> None:
    raise ValueError(
        "the state holds no inner decay, as of an optimizer with period=None; build it "
        "as it was when the state was made, or call prox_optax.carry_over(saved_state, "
        "init(params), step)."
    )


def check_readable(state: Any, ws: list[Any]) -> None:
    """Check that an anchor can be read from ``state``, for the params ``ws``."""
    field = state._fields[0]
    for w, (path, a) in zip(ws, tree_flatten_with_path(state[0])[0], strict=True):
        if jax.dtypes.canonicalize_dtype(a.dtype) != a.dtype:
            raise ValueError(
                f"{field}{keystr(path)} in the state is {a.dtype}: it was made with "
                "jax_enable_x64, which is off now; switch it on or call init again."
            )
        if isinstance(state, CompactState):
            right = a.dtype == jnp.int16
        else:
            right = (
                jnp.issubdtype(a.dtype, jnp.inexact)
                and jnp.finfo(a.dtype).bits >= 16
                and jnp.iscomplexobj(a) == jnp.iscomplexobj(w)
            )
        if not right:
            raise ValueError(
                f"{field}{keystr(path)} in the state is {a.dtype} and its parameter "
                f"{w.dtype}: that is no anchor of it; {_RESTORE}."
            )
    if isinstance(state, CompactState):
        _check_units(state, len(ws))


def _check_units(state: Any, number: int) -> None:
    if jnp.ndim(jax.tree.leaves(state.step)[0]) > 0:
        raise ValueError(
            "this is a stack of states, as jax.vmap(init) makes it, with an anchor of "
            "anchor_dtype='int16'; map over it: jax.vmap(anchor_distance)(states, "
            "params), and likewise the other functions."
        )
    unit = _only(state.unit)
    if _kind(unit) != f"float32[{number}]":
        raise ValueError(
            f"the state's unit is {_kind(unit)} and must be float32[{number}], one for "
            f"each parameter; {_RESTORE}."
        )
    if not isinstance(unit, jax.core.Tracer) and bool((np.asarray(unit) <= 0).any()):
        raise ValueError(
            f"the state's unit has the value {np.min(unit)} and must be positive; "
            f"{_RESTORE}."
        )


def _only(tree: Any) -> Any:
    """Return the one array in a container of Flax NNX, or what it is instead."""
    leaves = jax.tree.leaves(tree)
    return leaves[0] if len(leaves) == 1 else tree


def _is_integer(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.integer)


def _kind(x: Any) -> str:
    if not hasattr(x, "dtype"):
        return repr(x)
    return f"{x.dtype}[{','.join(map(str, jnp.shape(x)))}]"


_RESTORE = "restore the state into what init(params) makes"


def check_no_nan(ws: list[Any], held: Any) -> None:
    """Refuse to set an anchor to NaN, where values are known."""
    for w, (path, _) in zip(ws, tree_flatten_with_path(held)[0], strict=True):
        if not isinstance(w, jax.core.Tracer) and bool(jnp.isnan(w).any()):
            raise ValueError(
                f"set_anchor was given params whose leaf {keystr(path)} has NaN: the "
                "pull would make all of it NaN; pass finite params."
            )


def check_can_be_set(state: Any) -> None:
    """The anchor in ``state`` may lie anywhere."""
    if isinstance(state, CompactState):
        raise ValueError(
            "an anchor of anchor_dtype='int16' cannot be set: it is known only near "
            "the params; build the optimizer with anchor_dtype=None, or name another "
            "anchor by name=."
        )


def warn_of_rounding(
    params: optax.Params, anchor: optax.Params, anchor_step: ArrayLike
) -> None:
    for w, a in zip(jax.tree.leaves(params), jax.tree.leaves(anchor), strict=True):
        dtype = jnp.result_type(w)
        if jnp.promote_types(dtype, a.dtype) != a.dtype:
            rounding = 100 * float(jnp.finfo(a.dtype).eps) / 2
            warnings.warn(
                f"anchor_dtype={a.dtype.name} is less precise than the params' {dtype}:"
                f" the anchor is off by up to {rounding:.2g} % of each weight, and the "
                "pull with it; at small learning rates that is more than the params "
                "move in a period. anchor_dtype=None avoids it, and 'int16' in 2 bytes "
                "a parameter.",
                stacklevel=4,
            )
            return
        is_fraction = isinstance(anchor_step, int | float) and anchor_step < 1
        if is_fraction and jnp.finfo(a.dtype).bits < 32:
            warnings.warn(
                f"an anchor of dtype {a.dtype.name} rounds away the small moves of "
                f"anchor_step={anchor_step}; write anchor_dtype='float32'.",
                stacklevel=4,
            )
            return
