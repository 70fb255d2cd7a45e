"""What an argument may be: one check of a number, of a dtype, of a schedule's start.

Only values known while Python runs are judged. A ``jax.Array`` may be a tracer
(``vmap`` and ``optax.inject_hyperparams`` make every number one), so its dtype and
shape are checked and its value is not.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from prox_optax._placement import is_concrete

Period: TypeAlias = int | np.integer[Any] | np.ndarray | jax.Array

# optax.Params without its forward reference, which checkers at run time cannot resolve.
Tree: TypeAlias = Iterable[Any] | Mapping[Any, Any]
Weights: TypeAlias = ArrayLike | optax.Schedule | Tree

Check: TypeAlias = Callable[[str, Any], None]
"""Raises for a value, given its name, that is not allowed."""


def _in_float32(value: Any) -> Any:
    """Return a Python or NumPy number as float32 holds it: too large is infinite."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float64).astype(np.float32)
    except OverflowError:  # an int that float64 cannot hold
        return np.float32(math.inf)


class Numbers(NamedTuple):
    """The numbers that an argument may be.

    Attributes:
      kind: what to call one.
      dtypes: its dtype is one of these kinds.
      held: returns a number as a compiled program holds it.
      range: the range in words.
      contains: whether a number lies in the range.
    """

    kind: str
    dtypes: tuple[Any, ...]
    held: Callable[[Any], Any]
    range: str
    contains: Callable[[Any], Any]


_REAL = functools.partial(
    Numbers, "a real number", (jnp.floating, jnp.integer), _in_float32
)
_WHOLE = functools.partial(Numbers, "one integer", (jnp.integer,), lambda n: n)

NOT_NEGATIVE = _REAL("be finite and not negative", lambda x: (x >= 0) & (x < math.inf))
RATE = NOT_NEGATIVE._replace(  # optax takes a learning rate times -1
    kind="a signed real number", dtypes=(jnp.floating, jnp.signedinteger)
)
POSITIVE = _REAL("be positive and finite", lambda x: (x > 0) & (x < math.inf))
DECAY = _REAL("lie in [0, 1)", lambda x: (x >= 0) & (x < 1))
FRACTION = _REAL("lie in (0, 1]", lambda x: (x > 0) & (x <= 1))
PERIOD = _WHOLE("be at least 1 and below 2**31", lambda n: (n >= 1) & (n < 2**31))
STEP = _WHOLE("be at least 0 and below 2**31", lambda n: (n >= 0) & (n < 2**31))


def check_number(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Check a number, or each number of an array."""
    if not _is_a(value, allowed.dtypes):
        raise TypeError(f"{name} must be {allowed.kind}, got {value!r}; {hint}.")
    if not isinstance(value, int | float | np.ndarray | np.generic):
        return
    for held, where in ((value, ""), (allowed.held(value), " in float32")):
        if not np.all(allowed.contains(held)):
            raise ValueError(
                f"{name} must {allowed.range}{where}, got {value!r}; {hint}."
            )
    if isinstance(value, int) and value >= 2**31 and allowed in (NOT_NEGATIVE, RATE):
        raise ValueError(
            f"{name} is an integer beyond int32, which JAX does not take, got {value}; "
            f"write {float(value)}."
        )


def check_one_number(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Check a number that is no array of several."""
    check_number(name, value, allowed, hint)
    if jnp.shape(value) != ():
        raise TypeError(
            f"{name} must be one number, got shape {jnp.shape(value)}; {hint}."
        )


def check_constant(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Check one number of an optimizer that takes no schedule for it."""
    if is_schedule(value):
        raise TypeError(
            f"{name} takes no schedule, got {value!r}; write optax.inject_hyperparams("
            f"optimizer)(..., {name}=schedule), with the function for optimizer."
        )
    check_one_number(name, value, allowed, hint)


def check_dtype(name: str, dtype: Any, kind: Any, what: str, hint: str) -> None:
    """Check a dtype of the ``kind``, one that JAX computes with."""
    if isinstance(dtype, jax.Array):
        raise TypeError(
            f"{name} is an array: optax.inject_hyperparams took the dtype for a "
            f"schedule; {hint}, or name it in static_args."
        )
    if not is_dtype(dtype, kind):
        raise TypeError(f"{name} must be {what}, got {dtype!r}; {hint}.")


def is_dtype(dtype: Any, kind: Any) -> bool:
    if not isinstance(dtype, type | str | np.dtype):
        return False
    try:
        jnp.promote_types(dtype, jnp.float32)  # which float8 does not
        return jnp.issubdtype(jnp.dtype(dtype), kind)
    except (TypeError, ValueError):
        return False


def is_schedule(value: Any) -> TypeGuard[optax.Schedule]:
    """Whether ``value`` is a function of the step, and not a tree that can be called.

    The module of a network is both a tree and callable: it is taken as a tree.
    """
    if not callable(value) or isinstance(value, type):
        return False
    is_partial = isinstance(value, jax.tree_util.Partial)
    return is_partial or jax.tree_util.all_leaves([value])


def start_of(name: str, schedule: optax.Schedule, check: Check) -> Any:
    """Return the value of a schedule at step 0, under ``jit`` too, and check it."""
    with jax.ensure_compile_time_eval():
        start = schedule(jnp.zeros([], jnp.int32))
    if is_schedule(start):
        raise TypeError(
            f"{name}(0) must be a number, got {start!r}; write the function of the "
            "step itself."
        )
    check(f"{name}(0)", jax.tree.map(known, start))
    return start


def known(x: Any) -> Any:
    """Return a NumPy number for a JAX array whose value is known."""
    if not is_concrete(x):
        return x
    return jax.device_get(x)[()] if jnp.issubdtype(x.dtype, np.number) else x


def judged_at_init(
    tx: optax.GradientTransformationExtraArgs, *judgements: tuple[str, Any, Check]
) -> optax.GradientTransformationExtraArgs:
    """Make ``init`` of ``tx`` check each argument that is a schedule at step 0."""

    def init_fn(params: optax.Params) -> optax.OptState:
        for name, value, check in judgements:
            if is_schedule(value):
                # It may ask which worker it runs on, and init may be run on none.
                with contextlib.suppress(NameError):
                    start_of(name, value, check)
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init_fn, tx.update)


def _is_a(value: Any, dtypes: tuple[Any, ...]) -> bool:
    if isinstance(value, type):
        return False
    dtype: Any = next((x for x in (bool, int, float) if isinstance(value, x)), object)
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic)
    if is_array or hasattr(value, "__jax_array__"):  # as a variable of Flax has
        dtype = value.dtype
    return any(is_dtype(dtype, x) for x in dtypes)
