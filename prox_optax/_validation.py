"""Errors that say what was wrong and what to write instead."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prox_optax._arguments import (
    DECAY,
    FRACTION,
    NOT_NEGATIVE,
    PERIOD,
    POSITIVE,
    RATE,
    STEP,
    Numbers,
    check_constant,
    check_dtype,
    check_number,
    check_one_number,
    is_dtype,
    is_schedule,
)

_NUMBER = "write a number such as 0.1, or a schedule of such"


def check_period(period: Any, none_allowed: bool = True) -> None:
    """``period``: None, a whole number of steps >= 1, or a traced integer."""
    hint = "write a whole number of steps such as period=10"
    if none_allowed:
        hint += ", or period=None for an anchor that never moves by itself"
        if period is None:
            return
    _check_integer("period", period, PERIOD, hint)


def check_step(step: Any) -> None:
    """``step``: a whole number of updates >= 0."""
    hint = "write the number of updates made"
    _check_integer("step", step, STEP, hint)


def _check_integer(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    if getattr(value, "shape", ()) != ():
        raise TypeError(f"{name} must be {allowed.kind}, got {value!r}; {hint}.")
    check_number(name, value, allowed, hint)


def check_weights(name: str, weights: Any) -> None:
    """``weights``: a schedule, or a number or tree of numbers, finite and >= 0."""
    if is_schedule(weights):
        return
    if weights is None:
        raise TypeError(
            f"{name} must be a number, a schedule or a tree like params, got None; "
            f"write {name}=0.0 for no pull."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        leaf_name = name + jax.tree_util.keystr(path)
        check_number(leaf_name, leaf, NOT_NEGATIVE, _NUMBER)


def check_rate(name: str, rate: Any) -> None:
    """A learning rate or weight decay: a schedule, or a finite number >= 0."""
    if not is_schedule(rate):
        check_one_number(name, rate, RATE, _NUMBER)


def check_sgd(momentum: Any, nesterov: Any, accumulator_dtype: Any) -> None:
    """What ``optax.sgd`` takes: a momentum in [0, 1), or None for none."""
    if momentum is not None:
        hint = "write momentum=0.9, or None for none"
        check_constant("momentum", momentum, DECAY, hint)
    _check_moment_dtype("accumulator_dtype", accumulator_dtype)
    _check_bool("nesterov", nesterov)


def check_adam(
    b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any, nesterov: Any
) -> None:
    """What ``optax.adam`` takes: decays in [0, 1), and eps and eps_root >= 0."""
    check_constant("b1", b1, DECAY, "write b1=0.9")
    check_constant("b2", b2, DECAY, "write b2=0.999")
    check_constant("eps", eps, NOT_NEGATIVE, "write eps=1e-8")
    check_constant("eps_root", eps_root, NOT_NEGATIVE, "write eps_root=0.0")
    _check_moment_dtype("mu_dtype", mu_dtype)
    _check_bool("nesterov", nesterov)


def _check_moment_dtype(name: str, dtype: Any) -> None:
    if dtype is not None:
        what = "a real floating dtype of 16 bits or more"
        hint = f"write {name}='bfloat16', or None for the params' own dtype"
        check_dtype(name, dtype, jnp.floating, what, hint)


def _check_bool(name: str, value: Any) -> None:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"{name} must be one bool, got {value!r}; write {name}=True or False."
        )


def check_anchor_step(anchor_step: Any) -> None:
    """``anchor_step``: a fraction in (0, 1]."""
    hint = (
        "write 1.0 to take a copy of params at each period, or period=None for an "
        "anchor that stays"
    )
    check_constant("anchor_step", anchor_step, FRACTION, hint)


def check_anchor_dtype(anchor_dtype: Any, period: Any, anchor_step: Any) -> None:
    """``anchor_dtype``: None, a floating dtype, or int16 if the anchor is taken."""
    if anchor_dtype is None:
        return
    if is_dtype(anchor_dtype, jnp.int16):
        _check_taken(period, anchor_step)
        return
    what = "a floating dtype of 16 bits or more, or int16"
    hint = "write anchor_dtype='bfloat16' or 'int16', or None for the params' own dtype"
    check_dtype("anchor_dtype", anchor_dtype, jnp.inexact, what, hint)


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


def check_b2(b2: Any, batch_size: Any, reference_batch_size: Any) -> None:
    """The arguments of ``rescale_b2``: a decay in [0, 1) and two batch sizes > 0."""
    check_one_number("b2", b2, DECAY, "write b2=0.999")
    sizes = {"batch_size": batch_size, "reference_batch_size": reference_batch_size}
    for name, size in sizes.items():
        check_one_number(name, size, POSITIVE, "write a size > 0")


def check_counterpart(saved: Any, new: Any, saved_where: str, where: str) -> None:
    """Two arrays of the same shape and dtype."""
    saved_is, new_is = ((jnp.result_type(x), jnp.shape(x)) for x in (saved, new))
    if saved_is != new_is:
        raise ValueError(
            f"{saved_where} is {saved_is[0]}{list(saved_is[1])}, new_state{where} "
            f"{new_is[0]}{list(new_is[1])}; build the new optimizer on the same "
            "params, with the same dtypes."
        )
