"""Checks of arguments: numbers in their range, dtypes, and what a schedule starts with.

Only values known while Python runs are judged. A ``jax.Array`` may be a tracer
(``vmap`` and ``optax.inject_hyperparams`` make every number one), so its dtype and
shape are checked and its value is not. Each error says what to write instead.
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


class Numbers(NamedTuple):
    """Say which numbers an argument may be.

    Attributes:
      one: what to call one where there are several.
      kind: what to call one of the right type.
      dtypes: its dtype is one of these kinds.
      range: the range in words.
      contains: whether a number lies in the range.
    """

    one: str
    kind: str
    dtypes: tuple[Any, ...]
    range: str
    contains: Callable[[Any], Any]


_REAL = functools.partial(
    Numbers, "one number", "a real number", (jnp.floating, jnp.integer)
)
_WHOLE = functools.partial(Numbers, "one integer", "one integer", (jnp.integer,))

NOT_NEGATIVE = _REAL("be finite and not negative", lambda x: (x >= 0) & (x < math.inf))
RATE = NOT_NEGATIVE._replace(  # optax takes a learning rate times -1
    kind="a signed real number", dtypes=(jnp.floating, jnp.signedinteger)
)
POSITIVE = _REAL("be positive and finite", lambda x: (x > 0) & (x < math.inf))
DECAY = _REAL("lie in [0, 1)", lambda x: (x >= 0) & (x < 1))
FRACTION = _REAL("lie in (0, 1]", lambda x: (x > 0) & (x <= 1))
SHARE = _REAL("lie in [0, 1]", lambda x: (x >= 0) & (x <= 1))
PERIOD = _WHOLE("be at least 1 and below 2**31", lambda n: (n >= 1) & (n < 2**31))
STEP = _WHOLE("be at least 0 and below 2**31", lambda n: (n >= 0) & (n < 2**31))

_RATE_HINT = "write a number such as 0.1, or a schedule of such"


def check_number(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Raise unless ``value`` is one number that is ``allowed``, also in float32."""
    if _is_a(value, allowed.dtypes) and jnp.shape(value) != ():
        raise TypeError(
            f"{name} must be {allowed.one}, got shape {jnp.shape(value)}; {hint}."
        )
    _check_each(name, value, allowed, hint)


def _check_each(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Raise unless a number, or each number of an array, is ``allowed``."""
    if not _is_a(value, allowed.dtypes):
        raise TypeError(f"{name} must be {allowed.kind}, got {value!r}; {hint}.")
    if not isinstance(value, int | float | np.ndarray | np.generic):
        return
    held = {"": value}
    if jnp.floating in allowed.dtypes:
        held[" in float32"] = _in_float32(value)
    for where, number in held.items():
        if not np.all(allowed.contains(number)):
            raise ValueError(
                f"{name} must {allowed.range}{where}, got {value!r}; {hint}."
            )
    if isinstance(value, int) and value >= 2**31 and allowed in (NOT_NEGATIVE, RATE):
        raise ValueError(
            f"{name} is an integer beyond int32, which JAX does not take, got {value}; "
            f"write {float(value)}."
        )


def _is_a(value: Any, dtypes: tuple[Any, ...]) -> bool:
    if isinstance(value, type):
        return False
    dtype: Any = next((x for x in (bool, int, float) if isinstance(value, x)), object)
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic)
    if is_array or hasattr(value, "__jax_array__"):  # as a variable of Flax has
        dtype = value.dtype
    return any(is_dtype(dtype, x) for x in dtypes)


def _in_float32(value: Any) -> Any:
    """Return a Python or NumPy number as float32 holds it: too large is infinite."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float64).astype(np.float32)
    except OverflowError:  # an int that float64 cannot hold
        return np.float32(math.inf)


def check_period(period: Any) -> None:
    """Raise unless ``period`` is a whole number of steps, or None."""
    if period is not None:
        hint = (
            "write a whole number of steps such as period=10, or period=None for an "
            "anchor that never moves by itself"
        )
        check_number("period", period, PERIOD, hint)


def check_weights(name: str, weights: Any) -> None:
    """Raise unless ``weights`` are a schedule, a number or a tree of numbers >= 0."""
    if is_schedule(weights):
        return
    if weights is None:
        raise TypeError(
            f"{name} must be a number, a schedule or a tree like params, got None; "
            f"write {name}=0.0 for no pull."
        )
    if isinstance(weights, optax.GradientTransformation):
        raise TypeError(
            f"{name} must be a number, a schedule or a tree like params, got an "
            "optimizer; write proximal(0.1, before=optimizer), or "
            "decoupled_proximal(0.01, behind=optimizer)."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        keys = jax.tree_util.keystr(path)
        _check_each(name + keys, leaf, NOT_NEGATIVE, _RATE_HINT)


def check_rate(name: str, rate: Any) -> None:
    """Raise unless a learning rate or weight decay is a schedule or a number >= 0."""
    if not is_schedule(rate):
        check_number(name, rate, RATE, _RATE_HINT)


def check_constant(name: str, value: Any, allowed: Numbers, hint: str) -> None:
    """Raise unless ``value`` is a number, where an optimizer takes no schedule."""
    if is_schedule(value):
        raise TypeError(
            f"{name} takes no schedule, got {value!r}; write optax.inject_hyperparams("
            f"optimizer)(..., {name}=schedule), with the function for optimizer."
        )
    check_number(name, value, allowed, hint)


def check_sgd(momentum: Any, nesterov: Any, accumulator_dtype: Any) -> None:
    """Raise for arguments that ``optax.sgd`` would use without complaint."""
    if momentum is not None:
        hint = "write momentum=0.9, or None for none"
        check_constant("momentum", momentum, DECAY, hint)
    _check_moments("accumulator_dtype", accumulator_dtype, nesterov)


def check_adam(
    b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any, nesterov: Any
) -> None:
    """Raise for arguments that ``optax.adam`` would use without complaint."""
    check_constant("b1", b1, DECAY, "write b1=0.9")
    check_constant("b2", b2, DECAY, "write b2=0.999")
    check_constant("eps", eps, NOT_NEGATIVE, "write eps=1e-8")
    check_constant("eps_root", eps_root, NOT_NEGATIVE, "write eps_root=0.0")
    _check_moments("mu_dtype", mu_dtype, nesterov)


def _check_moments(name: str, dtype: Any, nesterov: Any) -> None:
    if dtype is not None:
        what = "a real floating dtype of 16 bits or more"
        hint = f"write {name}='bfloat16', or None for the params' own dtype"
        check_dtype(name, dtype, jnp.floating, what, hint)
    if not isinstance(nesterov, bool | np.bool_):
        raise TypeError(
            f"nesterov must be one bool, got {nesterov!r}; write nesterov=True or "
            "False."
        )


def check_dtype(name: str, dtype: Any, kind: Any, what: str, hint: str) -> None:
    """Raise unless ``dtype`` is one of the ``kind`` that JAX computes with."""
    if isinstance(dtype, jax.Array):
        raise TypeError(
            f"{name} is an array: optax.inject_hyperparams took the dtype for a "
            f"schedule; {hint}, or name it in static_args."
        )
    if not is_dtype(dtype, kind):
        raise TypeError(f"{name} must be {what}, got {dtype!r}; {hint}.")


def is_dtype(dtype: Any, kind: Any) -> bool:
    """Tell whether ``dtype`` is one of the ``kind``, which JAX computes with."""
    if not isinstance(dtype, type | str | np.dtype):
        return False
    try:
        jnp.promote_types(dtype, jnp.float32)  # which float8 does not
        return jnp.issubdtype(jnp.dtype(dtype), kind)
    except (TypeError, ValueError):
        return False


def is_schedule(value: Any) -> TypeGuard[optax.Schedule]:
    """Tell whether ``value`` is a function of the step, not a tree that can be called.

    The module of a network is both a tree and callable: it is taken as a tree.
    """
    if not callable(value) or isinstance(value, type):
        return False
    is_partial = isinstance(value, jax.tree_util.Partial)
    return is_partial or jax.tree_util.all_leaves([value])


def value_at(t: Any, value: Any) -> Any:
    """Return the value of an argument at step ``t``, which may be a schedule."""
    return value(t) if is_schedule(value) else value


def check_start(name: str, value: Any, check: Check) -> None:
    """Check what an argument is at step 0, if it is a schedule."""
    if is_schedule(value):
        # It may ask which worker it runs on, and init may be run on none.
        with contextlib.suppress(NameError):
            start_of(name, value, check)


def judged_at_init(
    tx: optax.GradientTransformationExtraArgs, *arguments: tuple[str, Any, Check]
) -> optax.GradientTransformationExtraArgs:
    """Make ``init`` check what those arguments start with that are schedules."""

    def init_fn(params: optax.Params) -> optax.OptState:
        for argument in arguments:
            check_start(*argument)
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init_fn, tx.update)


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
