"""The pull towards an anchor, in the gradient (coupled) or in the step (decoupled)."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from prox_optax import _states, _tree_checks, _validation
from prox_optax._match import matched_updates, spread
from prox_optax._order import ahead_of, following
from prox_optax._placement import in_manual_mesh, placed_like, wide_dtype
from prox_optax._schedule import with_rate
from prox_optax._states import State
from prox_optax._types import Period, Rate, Weights
from prox_optax._validation import is_schedule, value_at

_Pull: TypeAlias = Callable[..., tuple[jax.Array, jax.Array]]
_LAST_STEP = 2**31 - 1
_SMALL = 2**16  # elements: on a GPU their update takes less time than its launch


def proximal(
    strength: Weights = 0.1,
    period: Period | None = 10,
    *,
    anchor_step: ArrayLike = 1.0,
    anchor_dtype: DTypeLike | None = None,
    before: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Pull the parameters towards an anchor, through the gradient.

    Adds to the loss the penalty :math:`\lambda \|w - a\|^2` towards an anchor
    :math:`a`, a copy of the parameters taken every :math:`S` steps. At update
    :math:`t` (from 0), before the base optimizer,

    .. math::

      \begin{align*}
        a &\leftarrow a + s\,(w - a) && \text{if } t \bmod S = 0 \\
        g &\leftarrow g + 2 \lambda\,(w - a)
      \end{align*}

    Where :math:`\lambda = 0` or :math:`w = a` the gradient passes untouched, so that
    ``period=1`` and ``strength=0`` are the base optimizer, bit for bit. The pull
    enters momentum and moments. Under plain SGD it overshoots the anchor where the
    learning rate exceeds :math:`1 / (2 \lambda)`, with momentum earlier;
    :func:`decoupled_proximal` never does. Put behind the optimizer it would push away
    from the anchor, which nothing in a chain can see; ``before`` puts it in the right
    place. Where the gradient passes untouched, so do derivatives of it: one with
    respect to :math:`\lambda` is 0 at :math:`\lambda = 0`.

    Args:
      strength: :math:`\lambda \ge 0`, in units of the loss over squared parameters: a
        number, a schedule (step -> number), or a tree with the structure of the
        params, a number or an array a leaf. A module of a network is a tree, also
        where it can be called.
      period: :math:`S`, the number of steps between moves of the anchor, an integer
        >= 1, or None for an anchor that never moves by itself (pretrained weights, or
        :func:`set_anchor`).
      anchor_step: :math:`s`, the fraction in (0, 1] of the way to the params that the
        anchor moves. With ``period=1``, ``anchor_step=0.01`` the anchor is an
        exponential average of the params (of 16-bit params give
        ``anchor_dtype="float32"``: smaller moves would be rounded away). For a
        schedule of it use ``optax.inject_hyperparams``.
      anchor_dtype: the dtype of the anchor, a floating one of 16 bits or more, or
        ``"int16"``; None is the params' own. A lower precision than the params' pulls
        towards the rounding error, and warns at init. ``"int16"`` keeps 16 bits
        of each parameter and takes the pull from the whole of them, for an anchor that
        is taken anew each period (:class:`CompactState`).
      before: the optimizer that gets the pulled gradient:
        ``proximal(0.1, before=optax.adam(1e-3))`` is
        ``optax.chain(proximal(0.1), optax.adam(1e-3))``. None: the pull alone.

    Returns:
      A transformation with state :class:`ProximalState` (or :class:`CompactState`).
      ``update`` needs ``params``; its updates keep the shapes and dtypes of the
      gradients. A pull below 1/512 of a bfloat16 gradient is rounded away: for float32
      params put ``optax.stateless(optax.tree.cast_like)`` before it, which casts the
      gradients.

    Raises:
      TypeError, ValueError: at construction for an argument of the wrong kind or
        range, numbers as float32 holds them (of a ``jax.Array`` only the dtype and the
        shape are judged); at init for a schedule of which that is true at step 0, for
        integer params or a strength that does not fit them; at update for missing
        params, or params that do not fit the anchor.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = optax.chain(prox_optax.proximal(0.5, period=10), optax.sgd(0.1))
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.ones(2), state, w)
      ...     w = optax.apply_updates(w, updates)
      >>> w  # the second step is shorter: -0.1 * (1 + 2 * 0.5 * -0.1)
      Array([0.81, 1.81], dtype=float32)

    Reference:
      Zhang et al., "Taming the Noisy Gradient", IJCAI 2019,
      https://doi.org/10.24963/ijcai.2019/604
    """
    _validation.check_weights("strength", strength)
    tx = anchored(
        pull_gradient, "strength", strength, period, anchor_step, anchor_dtype
    )
    tx = _validation.judged_at_init(
        tx, ("strength", strength, _validation.check_weights)
    )
    return ahead_of(before, tx)


def decoupled_proximal(
    lambda_w: Weights = 0.01,
    period: Period | None = 10,
    *,
    learning_rate: Rate | None = None,
    anchor_step: ArrayLike = 1.0,
    anchor_dtype: DTypeLike | None = None,
    behind: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Pull the parameters towards an anchor, in the step itself.

    As AdamW decouples weight decay from the gradient, this decouples the pull. Behind
    a base optimizer whose update :math:`u` holds the learning rate already, it solves

    .. math::

      w + u' = \operatorname*{argmin}_z
        \|z - (w + u)\|^2 + r \|z - a\|^2
      \quad\Rightarrow\quad u' = \frac{u - r\,(w - a)}{1 + r},
      \qquad r = 2 \lambda_w

    where the anchor :math:`a` moves as in :func:`proximal`. The step ends between
    :math:`w + u` and :math:`a` for every :math:`r \ge 0`, does not depend on Adam's
    preconditioner, and leaves no stale pull in the momentum. With
    :math:`\lambda_w = 0` the updates pass untouched, bit for bit. Put before the
    optimizer it would push away from the anchor; ``behind`` puts it in its place.

    It also caps the step: under SGD with a learning rate :math:`\eta` and
    :math:`\lambda_w = \lambda \eta` the params stay within
    :math:`\max \|g\| / (2 \lambda)` of the anchor, however large :math:`\eta` is (with
    momentum :math:`\mu`, that over :math:`1 - \mu`). Over a period that is SGD at a
    learning rate of at most about :math:`1 / (2 \lambda S)`.

    Args:
      lambda_w: :math:`\lambda_w \ge 0`, without unit (strength times learning rate): a
        number, a schedule (step -> number), or a tree with the structure of the
        params, a number or an array a leaf.
      period: as in :func:`proximal`.
      learning_rate: the optimizer's :math:`\eta \ge 0`, a number or a schedule, for a
        pull that follows it as the weight decay of ``optax.adamw`` does:
        :math:`r = 2\, \eta_t\, \lambda`. The first argument is then the strength
        :math:`\lambda`, as in :func:`proximal`. None: the pull does not follow.
      anchor_step: as in :func:`proximal`.
      anchor_dtype: as in :func:`proximal`.
      behind: the optimizer whose update is pulled: ``optax.chain(behind, pull)``. None:
        the pull alone.

    Returns:
      A transformation with state :class:`ProximalState` (or :class:`CompactState`).
      ``update`` needs ``params``; its updates keep the shapes and dtypes of those that
      come in.

    Raises:
      TypeError, ValueError: as :func:`proximal`.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> adam = optax.adam(0.1)
      >>> tx = prox_optax.decoupled_proximal(0.5, period=None, behind=adam)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> state = prox_optax.set_anchor(state, jnp.zeros(2))
      >>> updates, state = tx.update(jnp.zeros(2), state, w)
      >>> optax.apply_updates(w, updates)  # r = 1: half of the way to the anchor
      Array([0.5, 1. ], dtype=float32)

    Reference:
      The proximal step of Zhang et al., IJCAI 2019 (see :func:`proximal`), decoupled
      as in Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
      https://arxiv.org/abs/1711.05101
    """
    _validation.check_weights("lambda_w", lambda_w)
    weights = lambda_w
    if learning_rate is not None:
        _validation.check_rate("learning_rate", learning_rate)
        weights = with_rate(
            "lambda_w x learning_rate", operator.mul, lambda_w, learning_rate
        )
    tx = anchored(pull_step, "lambda_w", weights, period, anchor_step, anchor_dtype)
    tx = _validation.judged_at_init(
        tx,
        ("lambda_w", lambda_w, _validation.check_weights),
        ("learning_rate", learning_rate, _validation.check_rate),
    )
    return following(behind, tx)


def anchored(
    pull: _Pull,
    name: str,
    weights: Weights,
    period: ArrayLike | None,
    anchor_step: ArrayLike,
    anchor_dtype: DTypeLike | None,
    *,
    repeats: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Build the transformation behind both pulls, and behind those of the aliases.

    Args:
      pull: what computes the new update of a leaf from the old one, ``w - a`` and
        lambda: :func:`pull_gradient` or :func:`pull_step`.
      name: what the caller calls ``weights``.
      weights: lambda, as the strength of :func:`proximal`.
      period: S, as in :func:`proximal`.
      anchor_step: s, as in :func:`proximal`.
      anchor_dtype: as in :func:`proximal`.
      repeats: whether a schedule of ``weights`` repeats itself with the period.
    """
    _validation.check_period(period)
    hint = (
        "write 1.0 to take a copy of params at each period, or period=None for an "
        "anchor that stays"
    )
    _validation.check_constant("anchor_step", anchor_step, _validation.FRACTION, hint)
    kind = _states.kind_of_state(anchor_dtype, period, anchor_step)
    whole = isinstance(anchor_step, int | float) and anchor_step == 1
    s = None if whole else anchor_step  # None: a <- w itself, not rounded
    counts_on = is_schedule(weights) and not repeats

    def lambdas(t: jax.Array, like: optax.Params) -> list[Any]:
        return spread(name, value_at(t, weights), like)

    def init_fn(params: optax.Params) -> State:
        _tree_checks.check_params(params)
        state = kind.start(params, anchor_dtype, anchor_step)  # a <- w, t <- 0
        lambdas(state.step, params)
        return state

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, State]:
        del extra_args
        ws = _states.leaves_at(params, state, updates)
        _states.check_kind(state, ws, kind, anchor_dtype)
        # A negative step is ~t: set_anchor wrote it, and this update keeps the anchor.
        t = jnp.where(state.step < 0, ~state.step, state.step)
        if period is not None:
            due = (state.step >= 0) & (t % period == 0)
            state = _moved_where(due, state, ws, s)  # a <- a + s (w - a)
        gs, rebuild = matched_updates(updates, state[0])
        _tree_checks.check_updates(gs, ws, state[0])
        lams = lambdas(t, state[0])
        ds = state.displacements(ws)  # d = w - a
        never = jax.lax.optimization_barrier(jnp.zeros(2, bool))  # see _pulled
        new = [  # g <- g + 2 lam d, or u <- (u - 2 lam d) / (1 + 2 lam)
            None if g is None else _pulled(pull, g, d, lam, never)
            for g, d, lam in zip(gs, ds, lams, strict=True)
        ]
        return rebuild(new), state._replace(step=_next(t, period, counts_on))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def pull_gradient(
    g: jax.Array, d: jax.Array, lam: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``g + 2 lam (w - a)`` for ``d = w - a``, and where g passes untouched.

    It passes where the pull is 0: there 0 * inf must not arise, and -0.0 + 0.0 would
    be 0.0.
    """
    return g + 2 * lam * d, (lam == 0) | (d == 0)


def pull_step(
    u: jax.Array, d: jax.Array, lam: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``(u - r (w - a)) / (1 + r)`` for ``d = w - a`` and ``r = 2 lam``.

    Return also where u passes untouched, as :func:`pull_gradient` does. Both terms are
    divided by 1 + r before they meet, so that no product can overflow.
    """
    return 0.5 / (0.5 + lam) * u - lam / (0.5 + lam) * d, lam == 0


@partial(jax.jit, static_argnums=0)  # traced once for leaves of the same shape
def _pulled(
    pull: _Pull, u: jax.Array, d: jax.Array, lam: ArrayLike, never: jax.Array
) -> jax.Array:
    """Return the ``pull`` of a leaf, in float32 or wider, in the dtype of ``u``.

    All small leaves read ``never``, which is false. XLA makes one GPU kernel of several
    updates of one shape where they share an operand that is no scalar. Large leaves
    gain nothing by it, and their gradients would wait for each other in memory.
    """
    wide = wide_dtype(u, d)
    wide_lam = jnp.broadcast_to(jnp.asarray(lam, jnp.finfo(wide).dtype), jnp.shape(d))
    pulled, untouched = pull(jnp.asarray(u, wide), jnp.asarray(d, wide), wide_lam)
    pulled = pulled.astype(u.dtype)
    new = jnp.where(placed_like(untouched, pulled), placed_like(u, pulled), pulled)
    return new if new.size > _SMALL else jnp.where(never[0], 0, new)


def _moved_where(
    due: jax.Array, state: State, ws: list[jax.Array], s: ArrayLike | None
) -> State:
    """Return the state with its anchor moved where ``due``.

    One switch over the whole tree, with "keep" as its branch 0, lets XLA leave the
    anchor's buffers alone on the steps in between; a ``where`` rewrites them.
    """
    branches = [_keep, _move]
    if in_manual_mesh():  # there both must vary over the same axes of the mesh
        branches = [partial(_move_and_keep, False), partial(_move_and_keep, True)]
    return jax.lax.switch(due.astype(jnp.int32), branches, state, ws, s)


# The branches of an eager update are the same functions in each call: new ones would be
# compiled anew.
def _keep(state: State, ws: list[jax.Array], s: Any) -> State:
    del ws, s
    return state


def _move(state: State, ws: list[jax.Array], s: Any) -> State:
    return state.moved(ws, s)


def _move_and_keep(moves: bool, state: State, ws: list[jax.Array], s: Any) -> State:
    moved = state.moved(ws, s)
    return jax.tree.map(lambda m, k: jnp.where(moves, m, k), moved, state)


def _next(t: jax.Array, period: ArrayLike | None, counts_on: bool) -> jax.Array:
    """Return the next step, within the period or, from the last one, a period back."""
    period = jnp.asarray(1 if period is None else period, jnp.int32)
    if not counts_on:
        return (t % period + 1) % period
    return jnp.where(t >= _LAST_STEP, t - period, t) + 1
