"""The published optimizers as chains."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from prox_optax import _validation
from prox_optax._proximal import anchored, pull_gradient
from prox_optax._schedule import scale_by_inner_decay, with_rate
from prox_optax._states import of_pull
from prox_optax._types import Period, Rate, Weights
from prox_optax._validation import is_schedule

_NO_STEP = 1e-20  # a learning rate that moves no weight; lambda_w over it stays finite


def trsgd(
    learning_rate: Rate,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    lambda_w: Weights | None = None,
    period: Period | None = 10,
    weight_decay: Rate = 0.0,
    anchor_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build TRSGD: SGD pulled towards an anchor, with inner decay, as published.

    With :math:`k = t \bmod S`, at update :math:`t` (from 0):

    .. math::

      \begin{align*}
        a &\leftarrow w && \text{if } k = 0 \\
        g &\leftarrow g + 2 \lambda\,(w - a), && \lambda = \lambda_w / \eta_t \\
        g &\leftarrow g + \delta\, w \\
        b &\leftarrow \mu\, b + g \\
        w &\leftarrow w - \frac{\eta_t}{k + 1}\, b
      \end{align*}

    Where :math:`\eta_t \le 10^{-20}`, :math:`\lambda` is 0. The momentum carries over
    when the anchor moves, and the pull in it: let the learning rate fall, but not rise
    again by orders of magnitude (:func:`trsgdw` has no such limit).

    Stability with :math:`\mu = 0.9`, S = 10, in learning rate times curvature, where
    plain SGD is stable up to 3.8: inner decay alone resonates and diverges in about
    0.26-0.49, 1.17-1.72 and 2.58-3.61. The coupled pull moves the bands down; above
    :math:`\lambda_w` of about 0.097 the first reaches 0. The inner decay also lowers
    the mean learning rate to 0.293 of :math:`\eta`: tune the learning rate of a plain
    optimizer before comparing.

    Args:
      learning_rate: :math:`\eta \ge 0`, a number or a schedule (step -> number).
      momentum: :math:`\mu` in [0, 1), or None for none.
      nesterov: whether to use Nesterov momentum, a bool (the reference implementation
        takes and ignores it; here it works as in ``optax.sgd``).
      accumulator_dtype: the dtype of the momentum, a real floating one of 16 bits or
        more; None is the params' own.
      lambda_w: :math:`\lambda_w \ge 0`, strength times learning rate, without unit: a
        number, a schedule, or a tree with the structure of the params. None means 0.1
        times the learning rate at step 0. Under ``optax.inject_hyperparams`` the
        learning rate of each step looks like a constant: give ``lambda_w`` there.
      period: :math:`S`, an integer >= 1, or None: the anchor stays and there is no
        inner decay.
      weight_decay: :math:`\delta \ge 0`, a number or a schedule, L2 in the gradient.
      anchor_dtype: the dtype of the anchor, as in :func:`proximal`.

    Returns:
      The chain of :func:`proximal`, L2, ``optax.sgd`` and the inner decay.

    Raises:
      TypeError, ValueError: as :func:`proximal`; also for ``lambda_w=None`` with a
        schedule of the learning rate that starts at 0.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.trsgd(0.1, momentum=0.9)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> updates, state = tx.update(2 * w, state, w)
      >>> optax.apply_updates(w, updates)
      Array([0.8, 1.6], dtype=float32)

    Reference:
      Zhang et al., "Taming the Noisy Gradient", IJCAI 2019,
      https://doi.org/10.24963/ijcai.2019/604
    """
    _validation.check_sgd(momentum, nesterov, accumulator_dtype)
    check_rates(learning_rate, weight_decay)
    tx = _published(
        _coupled(learning_rate, lambda_w, period, anchor_dtype),
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum, nesterov, accumulator_dtype),
        scale_by_inner_decay(period),
    )
    return with_judged_schedules(tx, learning_rate, weight_decay, lambda_w)


def tradam(
    learning_rate: Rate,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    lambda_w: Weights | None = None,
    period: Period | None = 10,
    weight_decay: Rate = 0.0,
    anchor_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Build TRAdam: Adam pulled towards an anchor, with inner decay, as published.

    With :math:`k = t \bmod S`, at update :math:`t` (from 0):

    .. math::

      \begin{align*}
        a &\leftarrow w && \text{if } k = 0 \\
        g &\leftarrow g + 2 \lambda\,(w - a), && \lambda = \lambda_w / \eta_t \\
        g &\leftarrow g + \delta\, w \\
        m &\leftarrow \beta_1 m + (1 - \beta_1)\, g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2 \\
        w &\leftarrow w - \frac{\eta_t}{k + 1}\,
          \frac{\hat m}{\sqrt{\hat v} + \varepsilon}
      \end{align*}

    The bias corrections of :math:`\hat m, \hat v` count all steps; the moments carry
    over when the anchor moves. Adam rescales the pull with the gradient, so that how
    strong it is depends on the size of the gradients; in :func:`tradamw` it does not.

    Args:
      learning_rate: :math:`\eta \ge 0`, a number or a schedule (step -> number).
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1); see :func:`rescale_b2` for small batches.
      eps: :math:`\varepsilon \ge 0`, added outside the root, as in ``optax.adam`` (the
        reference implementation adds it before the bias correction). With 0 here and
        in ``eps_root`` a weight whose gradient is 0 from the start becomes NaN.
      eps_root: added inside the root, as in ``optax.adam``, >= 0.
      mu_dtype: the dtype of the first moment, a real floating one of 16 bits or more;
        None is the params' own.
      nesterov: whether to use Nesterov momentum, as in ``optax.adam``, a bool.
      lambda_w: as in :func:`trsgd`.
      period: as in :func:`trsgd`.
      weight_decay: :math:`\delta \ge 0`, a number or a schedule, L2 in the gradient.
      anchor_dtype: the dtype of the anchor, as in :func:`proximal`.

    Returns:
      The chain of :func:`proximal`, L2, ``optax.adam`` and the inner decay.

    Raises:
      TypeError, ValueError: as :func:`trsgd`.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.tradam(0.5)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> updates, state = tx.update(2 * w, state, w)
      >>> optax.apply_updates(w, updates).round(2)
      Array([0.5, 1.5], dtype=float32)

    Reference:
      Zhang et al., "Taming the Noisy Gradient", IJCAI 2019,
      https://doi.org/10.24963/ijcai.2019/604
    """
    _validation.check_adam(b1, b2, eps, eps_root, mu_dtype, nesterov)
    check_rates(learning_rate, weight_decay)
    tx = _published(
        _coupled(learning_rate, lambda_w, period, anchor_dtype),
        optax.add_decayed_weights(weight_decay),
        optax.adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_inner_decay(period),
    )
    return with_judged_schedules(tx, learning_rate, weight_decay, lambda_w)


def check_rates(learning_rate: Any, weight_decay: Any) -> None:
    """Raise unless the rates of an alias are numbers that it can use, or schedules."""
    _validation.check_rate("learning_rate", learning_rate)
    _validation.check_rate("weight_decay", weight_decay)


def with_judged_schedules(
    tx: optax.GradientTransformationExtraArgs,
    learning_rate: Any,
    weight_decay: Any,
    lambda_w: Any,
) -> optax.GradientTransformationExtraArgs:
    """Make ``init`` of an alias check what its schedules start with."""
    return _validation.judged_at_init(
        tx,
        ("learning_rate", learning_rate, _validation.check_rate),
        ("weight_decay", weight_decay, _validation.check_rate),
        ("lambda_w", lambda_w, _validation.check_weights),
    )


def _published(
    *parts: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Chain a pull and what follows it; name :func:`carry_over` to a foreign state."""
    chain = optax.chain(*parts)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        of_pull(state, 0)  # before optax counts the states
        return chain.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(chain.init, update_fn)


def _coupled(
    learning_rate: Rate,
    lambda_w: Weights | None,
    period: Period | None,
    anchor_dtype: DTypeLike | None,
) -> optax.GradientTransformationExtraArgs:
    """Build :func:`proximal` with the strength lambda_w / learning_rate."""
    if lambda_w is None:
        lambda_w = 0.1 * _at_start(learning_rate)
    _validation.check_weights("lambda_w", lambda_w)
    strength = with_rate(
        "lambda_w / learning_rate", _over_rate, lambda_w, learning_rate
    )
    return anchored(pull_gradient, "lambda_w", strength, period, 1.0, anchor_dtype)


def _at_start(learning_rate: Rate) -> Any:
    """Return a learning rate at step 0, which may not be 0."""
    if not is_schedule(learning_rate):
        return learning_rate
    eta_0 = _validation.start_of("learning_rate", learning_rate, _validation.check_rate)
    if not isinstance(eta_0, jax.core.Tracer) and _validation.known(eta_0) == 0:
        raise ValueError(
            "lambda_w=None means 0.1 * the learning rate at step 0, and this schedule "
            "starts at 0; give it, for example lambda_w=0.1 * peak_learning_rate."
        )
    return eta_0


def _over_rate(x: Any, eta: Any) -> Any:
    """Return ``x / eta``, or 0 where a learning rate is too small to move a weight."""
    if isinstance(eta, int | float):
        return x / eta if eta > _NO_STEP else 0.0
    moves = eta > _NO_STEP
    return jnp.where(moves, x / jnp.where(moves, eta, 1), 0)
