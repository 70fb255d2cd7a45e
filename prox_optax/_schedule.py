"""The inner decay of the learning rate, and Adam's ``b2`` for a batch size."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from prox_optax import _tree_checks, _validation
from prox_optax._placement import wide_dtype, widened
from prox_optax._types import Period, Rate, Weights
from prox_optax._validation import is_schedule, known, value_at


def inner_decay(learning_rate: Weights, period: Period = 10) -> optax.Schedule:
    r"""Decay a learning rate within each period, as TRSGD and TRAdam do.

    .. math:: \eta'_t = \frac{\eta_t}{(t \bmod S) + 1}

    Its mean over one period of a constant rate is :math:`\eta H_S / S`, with
    :math:`H_S` the harmonic number: 0.293 of the rate for S = 10. A comparison with a
    plain optimizer must tune the learning rates of both.

    optax stops its step counter at 2**31 - 1, and this decay with it;
    :func:`trsgd`, :func:`tradam`, :func:`trsgdw` and :func:`tradamw` go on.

    Args:
      learning_rate: :math:`\eta \ge 0`, a number, a schedule (step -> number), or a
        tree of numbers such as ``lambda_w``.
      period: :math:`S`, the number of steps in a period, an integer >= 1.

    Returns:
      A schedule: a function of the step :math:`t` (from 0), as optax takes it.

    Raises:
      TypeError, ValueError: for a period that is no integer in [1, 2**31), or a
        learning rate that is no schedule and not finite and >= 0 in float32.

    Example:
      >>> import prox_optax
      >>> schedule = prox_optax.inner_decay(0.6, period=3)
      >>> [round(schedule(t), 3) for t in range(5)]
      [0.6, 0.3, 0.2, 0.6, 0.3]

    Reference:
      Zhang et al., "Taming the Noisy Gradient", IJCAI 2019,
      https://doi.org/10.24963/ijcai.2019/604
    """
    hint = "write a whole number of steps such as period=10"
    _validation.check_number("period", period, _validation.PERIOD, hint)
    _validation.check_weights("learning_rate", learning_rate)

    def schedule(t: Any) -> Any:
        n = t % period + 1
        return jax.tree.map(lambda eta: eta / n, value_at(t, learning_rate))

    return schedule


def with_rate(
    name: str,
    combine: Callable[[Any, Any], Any],
    weights: Weights,
    learning_rate: Rate,
) -> Weights:
    """Combine each weight with the learning rate; a schedule where one of them is.

    ``name`` is what to call the result in an error.
    """

    def combined(t: ArrayLike) -> Any:
        eta = widened(value_at(t, learning_rate))
        return jax.tree.map(lambda x: combine(widened(x), eta), value_at(t, weights))

    if is_schedule(weights) or is_schedule(learning_rate):
        return combined
    constant: Weights = combined(0)
    _validation.check_weights(name, constant)
    return constant


class InnerDecayState(NamedTuple):
    """State of the inner decay of an alias.

    Attributes:
      inner_step: int32, shape (), in [0, period): steps since the period began. Right
        after :func:`carry_over` it is the number of all steps.
    """

    inner_step: jax.Array


def scale_by_inner_decay(period: Period | None) -> optax.GradientTransformation:
    """Divide the k-th update of each period by k + 1; without a period, do nothing."""
    if period is None:
        return optax.identity()

    def init_fn(params: optax.Params) -> InnerDecayState:
        del params
        return InnerDecayState(inner_step=jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, InnerDecayState]:
        del params, extra_args
        if not isinstance(state, InnerDecayState):
            raise ValueError(
                "the state holds no inner decay, as of an optimizer with period=None; "
                "build it as it was when the state was made, or call "
                "prox_optax.carry_over(saved_state, init(params), step)."
            )
        _tree_checks.check_step("inner_step", state.inner_step)
        n = state.inner_step % period + 1
        updates = jax.tree.map(lambda u: _divided(u, n), updates)
        return updates, InnerDecayState((n % period).astype(jnp.int32))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@jax.jit  # traced once for leaves of the same shape
def _divided(u: jax.Array, n: jax.Array) -> jax.Array:
    """Return ``u / n``, computed in float32 or wider, in the dtype of ``u``."""
    wide = wide_dtype(u)
    return (u.astype(wide) / n.astype(wide)).astype(u.dtype)


def rescale_b2(
    b2: ArrayLike, batch_size: ArrayLike, reference_batch_size: ArrayLike
) -> ArrayLike:
    r"""Convert Adam's ``b2`` to another batch size: the same half-life in examples.

    .. math:: b_2(B) = b_2^{\,B / B_{\mathrm{ref}}}

    The second moment then forgets half of its past after as many examples (or
    tokens) at ``batch_size`` as at ``reference_batch_size``.

    Args:
      b2: the decay used at the reference batch size, in [0, 1).
      batch_size: :math:`B`, the batch size to train with, > 0, in examples or tokens.
      reference_batch_size: :math:`B_{\mathrm{ref}}`, in the same unit, > 0.

    Returns:
      The decay to use at ``batch_size``, in [0, 1).

    Raises:
      TypeError, ValueError: for arguments that are no numbers or out of range; where
        the decay is 1 in float32, with which Adam would not move. The error gives the
        smallest whole batch size that works.

    Example:
      >>> import prox_optax
      >>> round(prox_optax.rescale_b2(0.95, 1, 512), 4)
      0.9999

    Reference:
      Marek et al., "Small Batch Size Training for Language Models", 2025,
      https://arxiv.org/abs/2507.07101
    """
    _validation.check_number("b2", b2, _validation.DECAY, "write b2=0.999")
    sizes = {"batch_size": batch_size, "reference_batch_size": reference_batch_size}
    for name, size in sizes.items():
        _validation.check_number(name, size, _validation.POSITIVE, "write a size > 0")
    b2 = widened(b2)
    scaled = b2 ** (batch_size / reference_batch_size)
    if _is_1(scaled):
        least = _least_batch_size(b2, batch_size, reference_batch_size)
        raise ValueError(
            f"b2={b2} at batch_size={batch_size} instead of {reference_batch_size} is "
            f"{scaled}, which is 1 in float32: Adam would not move; write "
            f"batch_size={least} or more."
        )
    return scaled


def _is_1(b2: Any) -> bool:
    """Tell whether a decay whose value is known is 1 in float32."""
    b2 = known(b2)
    return not isinstance(b2, jax.Array) and bool(np.float32(b2) == 1)


def _least_batch_size(b2: Any, too_small: Any, reference: Any) -> int:
    """Return the smallest whole batch size with a decay below 1, by bisection."""
    low, high = math.floor(too_small), math.ceil(reference)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_1(b2 ** (middle / reference)):
            low = middle
        else:
            high = middle
    return high
