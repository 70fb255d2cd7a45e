"""The decoupled forms of the published optimizers, as chains."""

from typing import Any

import jax
import optax
from jax.typing import ArrayLike, DTypeLike

from prox_optax import _validation
from prox_optax._alias import check_rates, with_judged_schedules
from prox_optax._placement import strong
from prox_optax._proximal import anchored, pull_step
from prox_optax._schedule import inner_decay, scale_by_inner_decay
from prox_optax._states import leaves_at, of_pull
from prox_optax._types import Period, Rate, Weights
from prox_optax._validation import is_schedule


def trsgdw(
    learning_rate: Rate,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    lambda_w: Weights = 0.01,
    period: Period | None = 10,
    weight_decay: Rate = 0.0,
    anchor_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build SGD with the pull and the weight decay in the step, not in the gradient.

    With :math:`k = t \bmod S`, at update :math:`t` (from 0):

    .. math::

      \begin{align*}
        a &\leftarrow w && \text{if } k = 0 \\
        b &\leftarrow \mu\, b + g \\
        u &= -\frac{\eta_t}{k + 1}\,(b + \delta\, w) \\
        w &\leftarrow w + \frac{u - r\,(w - a)}{1 + r},
          && r = \frac{2 \lambda_w}{k + 1}
      \end{align*}

    The pull never overshoots the anchor and leaves nothing in the momentum. The inner
    decay acts as in :func:`trsgd`; a weak pull shifts its resonances, a strong one
    removes them.

    Args:
      learning_rate: :math:`\eta \ge 0`, a number or a schedule (step -> number).
      momentum: :math:`\mu` in [0, 1), or None for none.
      nesterov: whether to use Nesterov momentum, as in ``optax.sgd``, a bool.
      accumulator_dtype: as in :func:`trsgd`.
      lambda_w: :math:`\lambda_w \ge 0`, without unit: a number, a schedule, or a tree
        with the structure of the params. It does not follow the learning rate.
      period: as in :func:`trsgd`.
      weight_decay: :math:`\delta \ge 0`, a number or a schedule, decoupled as in
        ``optax.adamw``.
      anchor_dtype: the dtype of the anchor, as in :func:`proximal`.

    Returns:
      The chain of momentum, weight decay, learning rate, inner decay and
      :func:`decoupled_proximal`.

    Raises:
      TypeError, ValueError: as :func:`proximal`.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.trsgdw(0.1, momentum=0.9, lambda_w=0.5)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> updates, state = tx.update(2 * w, state, w)
      >>> optax.apply_updates(w, updates)  # half of SGD's step: r = 1
      Array([0.9, 1.8], dtype=float32)

    Reference:
      Zhang et al., IJCAI 2019, https://doi.org/10.24963/ijcai.2019/604, decoupled as
      in Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101
    """
    _validation.check_sgd(momentum, nesterov, accumulator_dtype)
    check_rates(learning_rate, weight_decay)
    trace = optax.identity()
    if momentum is not None:
        trace = optax.trace(momentum, nesterov, accumulator_dtype)
    sgdw = optax.chain(
        trace,
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    tx = _decoupled(sgdw, lambda_w, period, anchor_dtype)
    return with_judged_schedules(tx, learning_rate, weight_decay, lambda_w)


def tradamw(
    learning_rate: Rate,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    lambda_w: Weights = 0.01,
    period: Period | None = 10,
    weight_decay: Rate = 0.0,
    anchor_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build AdamW with the pull in the step as well.

    With :math:`k = t \bmod S`, at update :math:`t` (from 0):

    .. math::

      \begin{align*}
        a &\leftarrow w && \text{if } k = 0 \\
        u &= -\frac{\eta_t}{k + 1} \left(
          \frac{\hat m}{\sqrt{\hat v} + \varepsilon} + \delta\, w \right) \\
        w &\leftarrow w + \frac{u - r\,(w - a)}{1 + r},
          && r = \frac{2 \lambda_w}{k + 1}
      \end{align*}

    with the moments of ``optax.adam``. The pull never overshoots the anchor and does
    not depend on Adam's preconditioner. The inner decay lowers the mean learning rate
    as in :func:`trsgd`.

    Args:
      learning_rate: :math:`\eta \ge 0`, a number or a schedule (step -> number).
      b1: as in :func:`tradam`.
      b2: as in :func:`tradam`.
      eps: as in :func:`tradam`.
      eps_root: as in :func:`tradam`.
      mu_dtype: as in :func:`tradam`.
      nesterov: as in :func:`tradam`.
      lambda_w: as in :func:`trsgdw`.
      period: as in :func:`trsgd`.
      weight_decay: :math:`\delta \ge 0`, a number or a schedule, decoupled as in
        ``optax.adamw``.
      anchor_dtype: the dtype of the anchor, as in :func:`proximal`.

    Returns:
      The chain of ``optax.adamw``, inner decay and :func:`decoupled_proximal`.

    Raises:
      TypeError, ValueError: as :func:`proximal`.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.tradamw(0.5, lambda_w=0.5)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> updates, state = tx.update(2 * w, state, w)
      >>> optax.apply_updates(w, updates).round(2)  # half of Adam's step: r = 1
      Array([0.75, 1.75], dtype=float32)

    Reference:
      As :func:`trsgdw`, around Adam.
    """
    _validation.check_adam(b1, b2, eps, eps_root, mu_dtype, nesterov)
    check_rates(learning_rate, weight_decay)
    adamw = optax.adamw(
        learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, nesterov=nesterov
    )
    tx = _decoupled(adamw, lambda_w, period, anchor_dtype)
    return with_judged_schedules(tx, learning_rate, weight_decay, lambda_w)


def _decoupled(
    base: optax.GradientTransformation,
    lambda_w: Any,
    period: Period | None,
    anchor_dtype: DTypeLike | None,
) -> optax.GradientTransformationExtraArgs:
    """Chain ``base``, the inner decay and the pull with r = 2 lambda_w / (k + 1)."""
    _validation.check_period(period)
    _validation.check_weights("lambda_w", lambda_w)
    repeats = period is not None and not is_schedule(lambda_w)
    weights = lambda_w if period is None else inner_decay(lambda_w, period)
    pull = anchored(
        pull_step, "lambda_w", weights, period, 1.0, anchor_dtype, repeats=repeats
    )
    chain = optax.chain(base, scale_by_inner_decay(period), pull)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        leaves_at(params, of_pull(state, -1), updates)  # before base sees them
        updates = jax.tree.map(strong, updates)  # or base compiles three times
        return chain.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(chain.init, update_fn)
