"""The anchor: its state, how it moves, and how it is set from outside."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _compact, _validation
from prox_optax._arguments import Weights, is_schedule
from prox_optax._compact import CompactState

_LAST_STEP = 2**31 - 1

_Pull: TypeAlias = Callable[..., tuple[jax.Array, jax.Array]]


class ProximalState(NamedTuple):
    """State of :func:`proximal` and :func:`decoupled_proximal`: arrays only.

    Attributes:
      anchor: a copy of the parameters taken earlier: their structure and shapes, in
        their dtype or in ``anchor_dtype``.
      step: int32, shape (). The anchor moves where ``step % period == 0``. With a
        constant strength the counter stays in [0, period); with a schedule it counts
        the updates and, at 2**31 - 1, goes back by one period, so that neither the
        period nor a schedule of that period ever stops or slips. :func:`carry_over`
        writes the number of all steps, :func:`set_anchor` ``~step`` (a negative
        number): the next update keeps the anchor.
    """

    anchor: optax.Params
    step: jax.Array


State: TypeAlias = ProximalState | CompactState
"""The first field has the structure and the shapes of the parameters."""


def set_anchor(opt_state: optax.OptState, params: optax.Params) -> optax.OptState:
    """Set every anchor in an optimizer state to a copy of ``params``.

    The next update pulls towards what was set; after that the anchor goes on moving
    at its period, whose phase stays as it was. Works under ``jit`` too.

    Args:
      opt_state: the state of an optimizer that holds :func:`proximal`,
        :func:`decoupled_proximal` or an alias, at any depth (``optax.chain``,
        ``masked``, ``partition``, ``inject_hyperparams``, ``MultiSteps``, ...).
      params: the parameters to be pulled towards, with the structure and shapes given
        to ``init``. Where an anchor is masked, its part of ``params`` is used; inside
        ``optax.flatten`` ``init`` was given one raveled array.

    Returns:
      The state with new anchors, in the dtypes and shardings of the old ones; all else
      is shared.

    Raises:
      ValueError: for a state without an anchor, or params that do not fit it; for
        ``anchor_dtype="int16"``, which tells an anchor only near the params.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = optax.chain(prox_optax.proximal(0.5, period=None), optax.sgd(1.0))
      >>> state = tx.init(jnp.zeros(2))
      >>> state = prox_optax.set_anchor(state, jnp.ones(2))
      >>> tx.update(jnp.zeros(2), state, jnp.zeros(2))[0]
      Array([1., 1.], dtype=float32)
    """

    def reset(node: Any) -> Any:
        if not is_anchored(node):
            return node
        _validation.check_can_be_set(node)
        given = without_masked(params, node.anchor)
        _validation.check_like_anchor(given, node.anchor, "in this state")
        # Leaf by leaf: Flax NNX keeps the state's leaves in containers of its own.
        olds, structure = jax.tree.flatten(node.anchor)
        news = map(_copy_like, jax.tree.leaves(given), olds)
        step = jax.tree.map(lambda t: jnp.where(t < 0, t, ~t), node.step)
        return ProximalState(jax.tree.unflatten(structure, news), step)

    anchored_states(opt_state)
    if params is None:
        raise ValueError("set_anchor needs the params to pull towards, got None.")
    return jax.tree.map(reset, opt_state, is_leaf=is_anchored)


def is_anchored(node: Any) -> bool:
    return isinstance(node, ProximalState | CompactState)


def held(state: Any) -> optax.Params:
    """What the state of a pull holds of the anchor, in the structure of the params."""
    if not is_anchored(state):
        raise ValueError(
            "this is the state of an optimizer without an anchor; pass the state that "
            "init of this one made, or for a run saved without an anchor "
            "prox_optax.carry_over(saved_state, init(params), step)."
        )
    return state[0]


def anchored_states(opt_state: optax.OptState) -> list[State]:
    """Every state of a pull in ``opt_state``, at least one."""
    nodes = jax.tree.leaves(opt_state, is_leaf=is_anchored)
    states = [node for node in nodes if is_anchored(node)]
    if not states:
        raise ValueError(
            "opt_state holds no anchor; build the optimizer with prox_optax.proximal, "
            "decoupled_proximal or an alias such as tradam, and pass its whole state."
        )
    return states


def anchored(
    pull: _Pull,
    name: str,
    weights: Weights,
    period: ArrayLike | None,
    anchor_step: ArrayLike,
    anchor_dtype: Any,
    *,
    repeats: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """The anchor's life, around the pull of a leaf.

    ``pull(update, displacement, weight)`` gives the new update and where the old one
    passes untouched: there 0 * inf must not arise, and -0.0 + 0.0 would be 0.0.
    ``repeats`` says that a schedule of ``weights`` repeats itself with the period.
    """
    _validation.check_period(period)
    _validation.check_anchor_step(anchor_step)
    _validation.check_anchor_dtype(anchor_dtype, period, anchor_step)
    counts_on = is_schedule(weights) and not repeats

    def weights_at(t: jax.Array, params: optax.Params) -> Any:
        lam: Any = weights(t) if is_schedule(weights) else weights
        if jax.tree_util.all_leaves([lam]) and jnp.ndim(lam) == 0:
            return jax.tree.map(lambda _: lam, params)
        lam = without_masked(lam, params)
        _validation.check_weights_fit(name, lam, params)
        return jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(lam))

    def init_fn(params: optax.Params) -> State:
        _validation.check_params(params, anchor_dtype)
        step = jnp.zeros([], jnp.int32)
        if jax.tree.leaves(params):
            weights_at(step, params)
        if _validation.is_compact(anchor_dtype):
            return _compact.start(params, step)
        anchor = jax.tree.map(lambda w: _copy(w, anchor_dtype), params)
        _warn_of_rounding(params, anchor, anchor_step)
        return ProximalState(anchor, step)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, State]:
        del extra_args
        _validation.check_like_anchor(params, held(state))
        _validation.check_updates(updates, params)
        params = jax.tree.map(placed_like, params, held(state))

        t = jnp.where(state.step < 0, ~state.step, state.step)
        if period is not None:
            due = (state.step >= 0) & (t % period == 0)
            state = _moved(state, params, anchor_step, due)
        updates = jax.tree.map(
            lambda u, d, lam: None if u is None else _pulled(pull, u, d, lam),
            updates,
            jax.tree.unflatten(
                jax.tree.structure(params), _displacements(state, params)
            ),
            weights_at(t, params),
            is_leaf=lambda x: x is None,
        )
        return updates, state._replace(step=_next(t, period, counts_on))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _moved(state: State, params: optax.Params, s: ArrayLike, due: jax.Array) -> State:
    """The anchor moved where ``due``.

    One switch over the whole tree, with "keep" as its branch 0, lets XLA leave the
    anchor's buffers alone on the steps in between; a ``where`` rewrites them.
    """

    def move(state: State, params: optax.Params) -> State:
        if isinstance(state, CompactState):
            return _compact.taken(state, params)
        anchor = jax.tree.map(lambda a, w: _towards(w, a, s), state.anchor, params)
        return state._replace(anchor=anchor)

    branches = [lambda state, params: state, move]
    return jax.lax.switch(due.astype(jnp.int32), branches, state, params)


def _towards(w: jax.Array, a: jax.Array, s: ArrayLike) -> jax.Array:
    """``a + s (w - a)``."""
    if isinstance(s, int | float) and s == 1:
        return w.astype(a.dtype)
    wide = wide_dtype(a, w)
    a_wide, w_wide = jnp.asarray(a, wide), jnp.asarray(w, wide)
    whole = (s == 1) | jnp.isnan(a)  # NaN: not taken yet, after an abstract init
    return jnp.where(whole, w_wide, a_wide + s * (w_wide - a_wide)).astype(a.dtype)


def _displacements(state: State, params: optax.Params) -> list[jax.Array]:
    """``w - a`` of each leaf, in float32 or wider; 0 where equal, also at infinity."""

    def displacement(w: jax.Array, a: jax.Array) -> jax.Array:
        wide = wide_dtype(w, a)
        w, a = jnp.asarray(w, wide), jnp.asarray(a, wide)
        return jnp.where(w == a, 0, w - a)

    if isinstance(state, CompactState):
        return _compact.displacements(state, params)
    ws, anchors = jax.tree.leaves(params), jax.tree.leaves(state.anchor)
    return list(map(displacement, ws, anchors))


def _pulled(pull: _Pull, u: jax.Array, d: jax.Array, lam: ArrayLike) -> jax.Array:
    """``pull`` of a leaf, in float32 or wider, in the dtype of ``u``."""
    _validation.check_update(u, d)
    u = jnp.asarray(u)
    wide = wide_dtype(u, d)
    wide_lam = jnp.broadcast_to(jnp.asarray(lam, jnp.finfo(wide).dtype), jnp.shape(d))
    pulled, untouched = pull(jnp.asarray(u, wide), jnp.asarray(d, wide), wide_lam)
    pulled = pulled.astype(u.dtype)
    return jnp.where(placed_like(untouched, pulled), placed_like(u, pulled), pulled)


def wide_dtype(*arrays: jax.Array) -> jnp.dtype:
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def _next(t: jax.Array, period: ArrayLike | None, counts_on: bool) -> jax.Array:
    """The next step, within the period or, from the last one, back by a period."""
    period = jnp.asarray(1 if period is None else period, jnp.int32)
    if not counts_on:
        return (t % period + 1) % period
    return jnp.where(t >= _LAST_STEP, t - period, t) + 1


def _copy(w: Any, dtype: Any) -> jax.Array:
    """A buffer of its own for ``w``, strongly typed; NaN for a mere shape."""
    dtype = jnp.result_type(w) if dtype is None else jnp.dtype(dtype)
    if isinstance(w, jax.ShapeDtypeStruct):
        return jnp.full(w.shape, jnp.nan, dtype)
    return jnp.array(w, dtype, copy=True)


def _copy_like(w: Any, a: jax.Array) -> jax.Array:
    """A copy of ``w`` in the dtype of ``a`` and on its devices."""
    copy = _copy(placed_like(w, a), a.dtype)
    if isinstance(a, jax.Array) and not isinstance(a, jax.core.Tracer):
        copy = jax.device_put(copy, a.sharding)
    return copy


def placed_like(w: jax.Array, a: jax.Array) -> jax.Array:
    """``w`` with the sharding of ``a``, where the mesh makes shardings explicit."""
    sharding = jax.typeof(a).sharding
    explicit = jax.sharding.AxisType.Explicit in sharding.mesh.axis_types
    if not explicit or jax.typeof(w).sharding == sharding:
        return w
    return jax.sharding.reshard(w, sharding)


def without_masked(tree: Any, like: Any) -> Any:
    """``tree`` without the parts for which ``like`` holds an ``optax.MaskedNode``."""

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    masked = {
        path
        for path, node in jax.tree_util.tree_leaves_with_path(like, is_leaf=is_masked)
        if is_masked(node)
    }
    if not masked:
        return tree

    def keep(path: Any, leaf: Any) -> Any:
        above = (path[:i] for i in range(len(path) + 1))
        return optax.MaskedNode() if any(map(masked.__contains__, above)) else leaf

    return jax.tree_util.tree_map_with_path(keep, tree)


def _warn_of_rounding(
    params: optax.Params, anchor: optax.Params, anchor_step: ArrayLike
) -> None:
    for w, a in zip(jax.tree.leaves(params), jax.tree.leaves(anchor), strict=True):
        dtype = jnp.result_type(w)
        if jnp.promote_types(dtype, a.dtype) != a.dtype:
            rounding = 100 * float(jnp.finfo(a.dtype).eps) / 2
            warnings.warn(
                f"anchor_dtype={a.dtype.name} is less precise than the params' {dtype}:"
                f" the anchor is off by up to {rounding:.2g} % of each weight, and the "
                "pull with it; at small learning rates that is more than the params "
                "move in a period. anchor_dtype=None avoids it, and 'int16' in 2 bytes "
                "a parameter.",
                stacklevel=3,
            )
            return
        is_fraction = isinstance(anchor_step, int | float) and anchor_step < 1
        if is_fraction and jnp.finfo(a.dtype).bits < 32:
            warnings.warn(
                f"an anchor of dtype {a.dtype.name} rounds away the small moves of "
                f"anchor_step={anchor_step}; write anchor_dtype='float32'.",
                stacklevel=3,
            )
            return
