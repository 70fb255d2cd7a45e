"""Errors about params at init, and about states that come from a checkpoint."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from prox_optax._match import keys_to, leaf_at

RESTORE = "restore the state into what init(params) makes"


def check_params(params: Any) -> None:
    """Raise unless each leaf of ``params`` is a floating or complex array."""
    check_dtypes(
        params,
        lambda dtype: jnp.issubdtype(dtype, jnp.inexact),
        ": only floating or complex parameters can be pulled; keep the others out with "
        "optax.masked.",
    )
    check_dtypes(
        params,
        lambda dtype: jnp.finfo(dtype).bits >= 16,
        ", which JAX promotes to no other: keep the params in bfloat16 or float32 and "
        "cast them for the computation.",
    )


def check_dtypes(params: Any, fits: Callable[[Any], bool], why_not: str) -> None:
    """Raise, and say why, where the dtype of a leaf of ``params`` does not fit."""
    for index, w in enumerate(jax.tree.leaves(params)):
        dtype = jnp.result_type(w)
        if not fits(dtype):
            raise TypeError(
                f"params{keys_to(params, index)} has dtype {dtype}{why_not}"
            )


def check_updates(us: list[Any], ws: list[Any], tree: Any) -> None:
    """Raise unless each update can be pulled: nothing is broadcast or cut off.

    Args:
      us: the updates of the leaves of ``tree``, in order; None where there is none.
      ws: the parameters, or arrays like them.
      tree: names the leaves.
    """
    for index, (u, w) in enumerate(zip(us, ws, strict=True)):
        if u is None:
            continue
        if jnp.shape(u) != jnp.shape(w):
            raise ValueError(
                f"the update of leaf {leaf_at(tree, index)} has shape {jnp.shape(u)}, "
                f"its parameter {jnp.shape(w)}; pass gradients with respect to these "
                "params."
            )
        dtype, needed = jnp.result_type(u), jnp.result_type(w)
        is_number = jnp.issubdtype(dtype, jnp.inexact)
        is_real = not jnp.issubdtype(dtype, jnp.complexfloating)
        if not is_number or (is_real and jnp.issubdtype(needed, jnp.complexfloating)):
            raise TypeError(
                f"the update of leaf {leaf_at(tree, index)} has dtype {dtype}, which "
                f"cannot hold the pull on a parameter of {needed}; pass gradients with "
                "respect to these params."
            )


def check_held(
    field: str, held: Any, ws: list[Any], fits: Callable[[Any, Any], bool]
) -> None:
    """Raise unless each leaf held in a state's field ``fits`` its parameter."""
    for index, (a, w) in enumerate(zip(jax.tree.leaves(held), ws, strict=True)):
        if jax.dtypes.canonicalize_dtype(a.dtype) != a.dtype:
            raise ValueError(
                f"{field}{keys_to(held, index)} in the state is {a.dtype}: it was made "
                "with jax_enable_x64, which is off now; switch it on or call init "
                "again."
            )
        if not fits(a, w):
            raise ValueError(
                f"{field}{keys_to(held, index)} in the state is {a.dtype} and its "
                f"parameter {w.dtype}: that is no anchor of it; {RESTORE}."
            )


def check_step(name: str, step: Any) -> None:
    """Raise unless a counter of steps in a state is one integer."""
    t = only_array(step)
    is_integer = hasattr(t, "dtype") and jnp.issubdtype(t.dtype, jnp.integer)
    if not is_integer or jnp.shape(t) != ():
        raise ValueError(
            f"the state's {name} is {in_words(t)} and must be one integer, int32[]; "
            f"{RESTORE}."
        )


def only_array(tree: Any) -> Any:
    """Return the one array in a container of Flax NNX, or what it is instead."""
    leaves = jax.tree.leaves(tree)
    return leaves[0] if len(leaves) == 1 else tree


def is_stack(step: Any) -> bool:
    """Tell by a state's step whether it is a stack of states."""
    return any(jnp.ndim(t) > 0 for t in jax.tree.leaves(step))


def in_words(x: Any) -> str:
    """Return the dtype and the shape of an array as text, or what it is instead."""
    if not hasattr(x, "dtype"):
        return repr(x)
    return f"{x.dtype}[{','.join(map(str, jnp.shape(x)))}]"


def refuse_foreign_state(state: Any) -> NoReturn:
    """Say what a state is that is none of a pull's."""
    if isinstance(state, Mapping | list | str):  # of Flax the keys: '0', '1', ...
        raise ValueError(
            "this is a state as a checkpoint gives it back without a target: dicts and "
            "lists, not what init makes; restore it with a target such as "
            "init(params), or write prox_optax.carry_over("
            "restored_state, init(params), step), which takes a new anchor."
        )
    raise ValueError(
        "this is the state of an optimizer without an anchor; pass the state that "
        "init of this one made, or for a run saved without an anchor "
        "prox_optax.carry_over(saved_state, init(params), step)."
    )
