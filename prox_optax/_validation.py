"""Errors that say what was wrong and what to write instead.

Only values known while Python runs are judged. A ``jax.Array`` may be a tracer
(``vmap`` and ``optax.inject_hyperparams`` make every number one), so its dtype and
shape are checked and its value is not.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp


def check_period(period: Any, none_allowed: bool = True) -> None:
    """``period``: None, a whole number of steps >= 1, or a traced integer."""
    hint = "write a whole number of steps such as period=10"
    if none_allowed:
        hint += ", or period=None for an anchor that never moves by itself"
        if period is None:
            return
    if hasattr(period, "dtype"):
        integer = jnp.issubdtype(period.dtype, jnp.integer) and period.shape == ()
    else:
        integer = isinstance(period, int) and not isinstance(period, bool)
    if not integer:
        raise TypeError(f"period must be one integer, got {period!r}; {hint}.")
    if not isinstance(period, jax.Array) and not 1 <= period < 2**31:
        raise ValueError(f"period must be at least 1, got {period}; {hint}.")


def check_weights(name: str, weights: Any) -> None:
    """``weights``: a schedule, or a number or tree of numbers, finite and >= 0."""
    if callable(weights):
        return
    if weights is None:
        raise TypeError(
            f"{name} must be a number, a schedule or a tree like params, got None; "
            f"write {name}=0.0 for no pull."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        _check_number(name + jax.tree_util.keystr(path), leaf)


def check_anchor_step(anchor_step: Any) -> None:
    """``anchor_step``: a fraction in (0, 1]."""
    _check_scalar("anchor_step", anchor_step)
    if not isinstance(anchor_step, jax.Array) and not 0 < anchor_step <= 1:
        raise ValueError(
            f"anchor_step must lie in (0, 1], got {anchor_step}; write 1.0 to take a "
            "copy of params at each period, or period=None for an anchor that stays."
        )


def check_learning_rate(learning_rate: Any) -> None:
    """``learning_rate``: a schedule, or a finite number >= 0."""
    if not callable(learning_rate):
        _check_scalar("learning_rate", learning_rate)


def check_anchor_dtype(anchor_dtype: Any, period: Any, anchor_step: Any) -> None:
    """``anchor_dtype``: None, a floating dtype, or int16 if the anchor is taken."""
    if anchor_dtype is None:
        return
    hint = "write anchor_dtype='bfloat16' or 'int16', or None for the params' own dtype"
    if isinstance(anchor_dtype, jax.Array):
        raise TypeError(
            "anchor_dtype is an array: optax.inject_hyperparams took the dtype for a "
            f"schedule; {hint}, or name it in static_args."
        )
    try:
        dtype = jnp.dtype(anchor_dtype)
    except TypeError:
        dtype = jnp.dtype(bool)
    if is_compact(dtype):
        _check_taken(period, anchor_step)
    elif not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            "anchor_dtype must be a floating dtype or int16, got "
            f"{anchor_dtype!r}; {hint}."
        )


def is_compact(anchor_dtype: Any) -> bool:
    return anchor_dtype is not None and jnp.dtype(anchor_dtype) == jnp.int16


def _check_taken(period: Any, anchor_step: Any) -> None:
    hint = "write anchor_dtype=None for an anchor that"
    if period is None:
        raise ValueError(
            "anchor_dtype='int16' needs a period: it tells an anchor only near the "
            f"params; {hint} stays."
        )
    if isinstance(anchor_step, jax.Array):
        raise TypeError(
            "anchor_dtype='int16' needs anchor_step=1.0, a number, and it is an array; "
            f"under optax.inject_hyperparams name it in static_args, or {hint} follows."
        )
    if anchor_step != 1:
        raise ValueError(
            f"anchor_dtype='int16' needs anchor_step=1.0, got {anchor_step}; {hint} "
            "follows."
        )


def _check_number(name: str, value: Any) -> None:
    if hasattr(value, "dtype"):
        real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(
            value.dtype, jnp.integer
        )
    else:
        real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real:
        raise TypeError(
            f"{name} must be a real number, got {value!r}; write a number such as 0.1."
        )
    if isinstance(value, jax.Array):
        return
    inside = (value >= 0) & (value < math.inf)
    if not (inside if isinstance(inside, bool) else inside.all()):
        raise ValueError(
            f"{name} must be finite and not negative, got {value!r}; write a number "
            "such as 0.1."
        )


def _check_scalar(name: str, value: Any) -> None:
    _check_number(name, value)
    if jnp.shape(value) != ():
        raise TypeError(
            f"{name} must be one number, got shape {jnp.shape(value)}; write a number "
            "such as 0.1."
        )


def check_b2(b2: Any, batch_size: Any, reference_batch_size: Any) -> None:
    """The arguments of ``rescale_b2``: a decay in [0, 1) and two batch sizes > 0."""
    _check_scalar("b2", b2)
    if not isinstance(b2, jax.Array) and not 0 <= b2 < 1:
        raise ValueError(f"b2 must lie in [0, 1), got {b2}; write b2=0.999.")
    sizes = {"batch_size": batch_size, "reference_batch_size": reference_batch_size}
    for name, size in sizes.items():
        _check_scalar(name, size)
        if not isinstance(size, jax.Array) and not size > 0:
            raise ValueError(f"{name} must be positive, got {size}; write a size > 0.")


def check_step(step: Any) -> None:
    """``step``: a whole number of updates >= 0."""
    integer = (
        jnp.issubdtype(step.dtype, jnp.integer) and jnp.shape(step) == ()
        if hasattr(step, "dtype")
        else isinstance(step, int) and not isinstance(step, bool)
    )
    if not integer:
        raise TypeError(
            f"step must be one integer, got {step!r}; write the number of updates made."
        )
    if not isinstance(step, jax.Array) and not 0 <= step < 2**31:
        raise ValueError(
            f"step must be at least 0, got {step}; write the number of updates made."
        )


def check_counterpart(saved: Any, new: Any, saved_where: str, where: str) -> None:
    """Two arrays of the same shape and dtype."""
    saved_is, new_is = ((jnp.result_type(x), jnp.shape(x)) for x in (saved, new))
    if saved_is != new_is:
        raise ValueError(
            f"{saved_where} is {saved_is[0]}{list(saved_is[1])}, new_state{where} "
            f"{new_is[0]}{list(new_is[1])}; build the new optimizer on the same "
            "params, with the same dtypes."
        )
