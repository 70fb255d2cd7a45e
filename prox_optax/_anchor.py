"""The anchor: its state, how it moves, and how it is set from outside."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _validation

_LAST_STEP = 2**31 - 1

Weights: TypeAlias = ArrayLike | optax.Schedule | optax.Params
_Pull: TypeAlias = Callable[..., tuple[jax.Array, jax.Array]]


class ProximalState(NamedTuple):
    """State of :func:`proximal` and :func:`decoupled_proximal`: arrays only.

    Attributes:
      anchor: a copy of the parameters taken earlier: their structure and shapes, in
        their dtype or in ``anchor_dtype``.
      step: int32, shape (). The anchor moves where ``step % period == 0``. With a
        constant strength the counter stays in [0, period); with a schedule it counts
        the updates and, at 2**31 - 1, goes back by one period, so that neither the
        period nor a schedule of that period ever stops or slips. :func:`set_anchor`
        writes ``~step`` (a negative number): the next update keeps the anchor.
    """

    anchor: optax.Params
    step: jax.Array


def set_anchor(opt_state: optax.OptState, params: optax.Params) -> optax.OptState:
    """Set every anchor in an optimizer state to a copy of ``params``.

    The next update pulls towards what was set; after that the anchor goes on moving
    at its period, whose phase stays as it was. Works under ``jit`` too.

    Args:
      opt_state: the state of an optimizer that holds :func:`proximal`,
        :func:`decoupled_proximal` or an alias, at any depth (``optax.chain``,
        ``masked``, ``partition``, ``inject_hyperparams``, ``MultiSteps``, ...).
      params: the parameters to be pulled towards, with the structure and shapes given
        to ``init``. Where an anchor is masked, its part of ``params`` is used.

    Returns:
      The state with new anchors, in the dtypes of the old ones; all else is shared.

    Raises:
      ValueError: for a state without an anchor, or params that do not fit it.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = optax.chain(prox_optax.proximal(0.5, period=None), optax.sgd(1.0))
      >>> state = tx.init(jnp.zeros(2))
      >>> state = prox_optax.set_anchor(state, jnp.ones(2))
      >>> tx.update(jnp.zeros(2), state, jnp.zeros(2))[0]
      Array([1., 1.], dtype=float32)
    """

    def is_state(node: Any) -> bool:
        return isinstance(node, ProximalState)

    def reset(node: Any) -> Any:
        if not is_state(node):
            return node
        given = _masked_like(params, node.anchor)
        _validation.check_like_anchor(given, node.anchor, "in this state")
        # Leaf by leaf: Flax NNX keeps the state's leaves in containers of its own.
        olds, structure = jax.tree.flatten(node.anchor)
        news = [
            _copy(w, a.dtype) for a, w in zip(olds, jax.tree.leaves(given), strict=True)
        ]
        step = jax.tree.map(lambda t: jnp.where(t < 0, t, ~t), node.step)
        return ProximalState(jax.tree.unflatten(structure, news), step)

    if not any(map(is_state, jax.tree.leaves(opt_state, is_leaf=is_state))):
        raise ValueError(
            "opt_state holds no anchor; build the optimizer with prox_optax.proximal, "
            "decoupled_proximal or an alias such as tradam, and pass its whole state."
        )
    return jax.tree.map(reset, opt_state, is_leaf=is_state)


def anchored(
    pull: _Pull,
    name: str,
    weights: Weights,
    period: ArrayLike | None,
    anchor_step: ArrayLike,
    anchor_dtype: Any,
) -> optax.GradientTransformationExtraArgs:
    """The anchor's life, around the pull of a leaf.

    ``pull(update, param, anchor, weight)`` gives the new update and where the old one
    passes untouched: there 0 * inf must not arise, and -0.0 + 0.0 would be 0.0.
    """
    _validation.check_period(period)
    _validation.check_anchor_step(anchor_step)
    _validation.check_anchor_dtype(anchor_dtype)

    def weights_at(t: jax.Array, params: optax.Params) -> Any:
        lam: Any = weights(t) if callable(weights) else weights
        is_leaf = jax.tree_util.treedef_is_leaf(jax.tree.structure(lam))
        if is_leaf and jnp.ndim(lam) == 0:
            return jax.tree.map(lambda _: lam, params)
        _validation.check_weights_fit(name, lam, params)
        return lam

    def init_fn(params: optax.Params) -> ProximalState:
        _validation.check_params(params, anchor_dtype)
        if jax.tree.leaves(params):
            weights_at(jnp.zeros([], jnp.int32), params)
        _warn_of_rounding(params, anchor_dtype)
        anchor = jax.tree.map(lambda w: _copy(w, anchor_dtype), params)
        return ProximalState(anchor=anchor, step=jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ProximalState]:
        del extra_args
        if params is None:
            raise ValueError(_validation.NO_PARAMS)
        _validation.check_like_anchor(params, state.anchor, "taken at init")
        params = jax.tree.map(_placed_like, params, state.anchor)

        t = jnp.where(state.step < 0, ~state.step, state.step)
        anchor = state.anchor
        if period is not None:
            due = (state.step >= 0) & (t % period == 0)
            anchor = _moved(anchor, params, anchor_step, due)
        updates = jax.tree.map(
            lambda u, w, a, lam: None if u is None else _pulled(pull, u, w, a, lam),
            updates,
            params,
            anchor,
            weights_at(t, params),
            is_leaf=lambda x: x is None,
        )
        return updates, ProximalState(anchor, _next(t, period, callable(weights)))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _moved(
    anchor: optax.Params, params: optax.Params, s: ArrayLike, due: jax.Array
) -> optax.Params:
    """``a + s (w - a)`` where ``due``, else ``a``.

    One switch over the whole tree, with "keep" as its branch 0, lets XLA leave the
    anchor's buffers alone on the steps in between; a ``where`` rewrites them.
    """

    def move(a: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.where(s == 1, w, a + s * (w - a)).astype(a.dtype)

    branches = [lambda a, w: a, lambda a, w: jax.tree.map(move, a, w)]
    return jax.lax.switch(due.astype(jnp.int32), branches, anchor, params)


def _pulled(
    pull: _Pull, u: jax.Array, w: jax.Array, a: jax.Array, lam: ArrayLike
) -> jax.Array:
    """``pull`` of a leaf, in float32 or wider, in the dtype of ``u``."""
    u = jnp.asarray(u)
    dtype = jnp.promote_types(jnp.result_type(u, w, a), jnp.float32)
    real = jnp.finfo(dtype).dtype
    wide = (jnp.asarray(x, dtype) for x in (u, w, a))
    wide_lam = jnp.broadcast_to(jnp.asarray(lam, real), jnp.shape(w))
    pulled, untouched = pull(*wide, wide_lam)
    pulled = pulled.astype(u.dtype)
    return jnp.where(_placed_like(untouched, pulled), _placed_like(u, pulled), pulled)


def _next(t: jax.Array, period: ArrayLike | None, scheduled: bool) -> jax.Array:
    """The next step: back by one period from the last one, at the same phase."""
    period = jnp.asarray(1 if period is None else period, jnp.int32)
    last = _LAST_STEP if scheduled else period - 1
    return jnp.where(t >= last, t - period, t) + 1


def _copy(w: Any, dtype: Any) -> jax.Array:
    """A buffer of its own for ``w``, strongly typed; NaN for a mere shape."""
    dtype = jnp.result_type(w) if dtype is None else jnp.dtype(dtype)
    if isinstance(w, jax.ShapeDtypeStruct):
        return jnp.full(w.shape, jnp.nan, dtype)
    return jnp.array(w, dtype, copy=True)


def _placed_like(w: jax.Array, a: jax.Array) -> jax.Array:
    """``w`` with the sharding of ``a``, where the mesh makes shardings explicit."""
    sharding = jax.typeof(a).sharding
    explicit = jax.sharding.AxisType.Explicit in sharding.mesh.axis_types
    if not explicit or jax.typeof(w).sharding == sharding:
        return w
    return jax.sharding.reshard(w, sharding)


def _masked_like(params: optax.Params, anchor: Any) -> optax.Params:
    """``params`` without the leaves that ``optax.masked`` keeps from ``anchor``."""

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    masked = {
        path
        for path, a in jax.tree_util.tree_leaves_with_path(anchor, is_leaf=is_masked)
        if is_masked(a)
    }
    return jax.tree_util.tree_map_with_path(
        lambda path, w: optax.MaskedNode() if path in masked else w, params
    )


def _warn_of_rounding(params: optax.Params, anchor_dtype: Any) -> None:
    if anchor_dtype is None:
        return
    for w in jax.tree.leaves(params):
        dtype = jnp.result_type(w)
        if jnp.promote_types(dtype, anchor_dtype) != jnp.dtype(anchor_dtype):
            warnings.warn(
                f"anchor_dtype={jnp.dtype(anchor_dtype).name} is less precise than the "
                f"params' {dtype}: right after the anchor is taken the pull is the "
                "rounding error. anchor_dtype=None avoids it.",
                stacklevel=3,
            )
            return
