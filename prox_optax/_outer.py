"""An outer optimizer on the anchor: Lookahead, SNOO and DiLoCo."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from prox_optax import _tree_checks, _validation
from prox_optax._anchor import OuterState
from prox_optax._match import matched_updates
from prox_optax._order import check_optimizer, following
from prox_optax._placement import (
    axes_of,
    copied,
    in_manual_mesh,
    placed_like,
    strong,
    varying_over,
    wide_dtype,
)
from prox_optax._states import leaves_at
from prox_optax._types import Period


class _Changed(NamedTuple):
    """Hold what an update may change; the updates by leaves, None where there is none.

    It is what a branch of the update's switch returns.
    """

    us: list[Any]
    anchor: optax.Params
    outer_state: optax.OptState


_Branch: TypeAlias = Callable[[list[Any], list[jax.Array], OuterState], _Changed]


def outer(
    optimizer: optax.GradientTransformation,
    period: Period,
    *,
    axis_name: str | tuple[str, ...] | None = None,
    behind: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let an outer optimizer move the anchor, and the parameters go on from there.

    Behind a base optimizer whose update :math:`u` holds the learning rate already, at
    each :math:`S`-th update (the :math:`S`-th, the :math:`2S`-th, ...),

    .. math::

      \begin{align*}
        d &= a - (w + u) \\
        a &\leftarrow a + \text{outer}(d) \\
        u' &= a - w
      \end{align*}

    where outer is the update that the outer optimizer makes of :math:`d` as of a
    gradient at :math:`a`. So the parameters are at the anchor again. All other updates
    pass untouched. At init :math:`a = w`. With several workers :math:`d` is their mean,
    over ``axis_name``.

    The outer optimizer tells which method this is:

    * Lookahead: ``optax.sgd(0.5)``, the slow weights' step. The parameters need not be
      wrapped, as for ``optax.lookahead``.
    * SNOO, or DiLoCo of one worker: ``optax.sgd(0.7, momentum=0.9, nesterov=True)``.
    * DiLoCo: the same with ``axis_name``, where each worker trains on data of its own.
    * FedOpt: ``optax.adam`` or another, with ``axis_name``.

    :func:`get_anchor` reads the slow weights, to evaluate them.

    Args:
      optimizer: the outer optimizer, any optax transformation. It gets :math:`d` in
        the dtype of the anchor and the anchor as its params, once a period: its
        schedules count outer steps. It gets no extra arguments.
      period: :math:`S`, the number of updates between outer steps, an integer >= 1.
      axis_name: the name of the axis over which :math:`d` is averaged, that of
        ``jax.shard_map``, ``jax.pmap`` or ``jax.vmap``, or a tuple of such names. None
        is for no average. In ``jax.shard_map`` the mean is the only communication, and
        the updates between outer steps have none. Anchor and outer state may be
        replicated there. ``jax.vmap`` over the state computes an outer step in each
        update, and keeps each ``period``-th.
      behind: the base optimizer: ``optax.chain(behind, outer(...))``. None: the outer
        step alone, for a chain.

    Returns:
      A transformation with state :class:`OuterState`. ``update`` needs ``params``; its
      updates keep the shapes and dtypes of those that come in. The parameters reach
      the anchor to a rounding of :math:`u'` and one of :math:`w + u'`; what is lost is
      in the next :math:`d`, so it does not add up. In the same way outer SGD with a
      learning rate of 1 is the base optimizer: :math:`a - (a - x)` is not :math:`x` in
      floating point, but differs from it by at most :math:`2^{-22} \max(|a|, |x|)` in
      float32. A parameter whose update is None keeps its anchor.

    Raises:
      TypeError, ValueError: at construction for an argument of the wrong kind or range
        (of a ``jax.Array`` only the dtype and the shape are judged); at init for
        integer params; at update for missing params, or params that do not fit the
        anchor.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> lookahead = prox_optax.outer(optax.sgd(0.5), period=2)
      >>> tx = optax.chain(optax.sgd(0.1), lookahead)
      >>> w = jnp.array([1.0, 2.0])
      >>> state = tx.init(w)
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.ones(2), state, w)
      ...     w = optax.apply_updates(w, updates)
      >>> w  # two steps of -0.1, and half of the way back
      Array([0.9, 1.9], dtype=float32)

    Reference:
      Zhang et al., "Lookahead Optimizer", NeurIPS 2019,
      https://arxiv.org/abs/1907.08610; Kallusky et al., "SNOO", 2025,
      https://arxiv.org/abs/2510.15830; Douillard et al., "DiLoCo", 2023,
      https://arxiv.org/abs/2311.08105; Reddi et al., "Adaptive Federated
      Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295
    """
    _check_arguments(optimizer, period, axis_name)
    # The branches of an eager update are the same functions in each call: new ones
    # would be compiled anew.
    branches: list[_Branch] = [_keep, partial(_move, optimizer, axis_name)]

    def init_fn(params: optax.Params) -> OuterState:
        _tree_checks.check_params(params)
        # a <- w, and a copy for the optimizer: some keep what their init is given.
        anchor = jax.tree.map(lambda w: copied(w, None), params)
        outer_state = optimizer.init(jax.tree.map(lambda w: copied(w, None), params))
        return OuterState(anchor, outer_state, jnp.zeros([], jnp.int32))

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, OuterState]:
        del extra_args
        ws = leaves_at(params, state, updates)
        _check_state(state, ws)
        us, rebuild = matched_updates(updates, state.anchor)
        _tree_checks.check_updates(us, ws, state.anchor)
        us = list(map(_fitted, us, ws))
        S = jnp.asarray(period, jnp.int32)
        k = state.step % S
        due = k == S - 1
        alike = branches
        if in_manual_mesh():
            alike = _varying_alike(branches, axis_name, us, ws, state)
        new = jax.lax.switch(due.astype(jnp.int32), alike, us, ws, state)
        return rebuild(new.us), OuterState(
            new.anchor, new.outer_state, step=(k + 1) % S
        )

    tx = optax.GradientTransformationExtraArgs(init_fn, update_fn)
    return following(behind, tx)


# One switch over all that an outer step changes, with "keep" as its branch 0, lets XLA
# leave the anchor's buffers alone on the updates in between; a ``where`` rewrites them.
# A third branch would make it copy them.
def _keep(us: list[Any], ws: list[jax.Array], state: OuterState) -> _Changed:
    del ws
    return _Changed(us, state.anchor, state.outer_state)


def _move(
    optimizer: optax.GradientTransformation,
    axis_name: str | tuple[str, ...] | None,
    us: list[Any],
    ws: list[jax.Array],
    state: OuterState,
) -> _Changed:
    """Take an outer step."""
    anchors, structure = jax.tree.flatten(state.anchor)
    ds = list(map(_distance, anchors, ws, us))  # d = a - (w + u)
    if axis_name is not None:
        ds = jax.lax.pmean(ds, axis_name)
    ds = [d.astype(a.dtype) for d, a in zip(ds, anchors, strict=True)]
    moves, outer_state = optimizer.update(
        jax.tree.unflatten(structure, ds), state.outer_state, state.anchor
    )
    moved = optax.apply_updates(state.anchor, moves)  # a <- a + outer(d)
    new = [
        a if u is None else m
        for a, m, u in zip(anchors, jax.tree.leaves(moved), us, strict=True)
    ]
    return _Changed(
        list(map(_way, new, ws, us)),  # u' = a - w
        jax.tree.unflatten(structure, new),
        outer_state,
    )


def _distance(a: jax.Array, w: jax.Array, u: jax.Array | None) -> jax.Array:
    """Return ``a - (w + u)``, float32 or wider: 0 where u is None."""
    if u is None:
        return jnp.zeros_like(a, wide_dtype(a))
    wide = wide_dtype(a, w, u)
    return _difference(a.astype(wide), w.astype(wide) + u.astype(wide))


def _way(a: jax.Array, w: jax.Array, u: jax.Array | None) -> jax.Array | None:
    """Return ``a - w`` in the dtype of u: None where u is None."""
    if u is None:
        return None
    wide = wide_dtype(a, w)
    return _difference(a.astype(wide), w.astype(wide)).astype(u.dtype)


def _difference(a: jax.Array, x: jax.Array) -> jax.Array:
    """Return ``a - x``, and 0 where both are infinite."""
    return jnp.where(a == x, 0, a - x)


def _fitted(u: Any, w: jax.Array) -> jax.Array | None:
    """Return an update as an array that lies where its parameter does."""
    if u is None:
        return None
    placed: jax.Array = placed_like(strong(u), w)
    return placed


def _varying_alike(
    branches: list[_Branch],
    axis_name: str | tuple[str, ...] | None,
    us: list[Any],
    ws: list[jax.Array],
    state: OuterState,
) -> list[_Branch]:
    """Make the branches return what varies over the same axes of a manual mesh.

    What is averaged over an axis does not vary over it, where the state did not: then
    the anchor stays one for all workers.
    """
    everywhere = axes_of((us, ws, state))
    names = (axis_name,) if isinstance(axis_name, str) else axis_name or ()
    shared = axes_of(state) | (everywhere - {*names})

    def alike(branch: _Branch) -> _Branch:
        def varying(us: list[Any], ws: list[jax.Array], state: OuterState) -> _Changed:
            new = branch(us, ws, state)
            kept = varying_over(shared, (new.anchor, new.outer_state))
            return _Changed(varying_over(everywhere, new.us), *kept)

        return varying

    return list(map(alike, branches))


def _check_state(state: Any, ws: list[jax.Array]) -> None:
    """Raise unless a state is one of ``outer``, with an anchor that holds ``ws``."""
    _tree_checks.check_step("step", state.step)
    if not isinstance(state, OuterState):
        raise ValueError(
            f"the state is a {type(state).__name__} and the optimizer is outer; build "
            "it as it was when the state was made, or call "
            "prox_optax.carry_over(saved_state, init(params), step)."
        )
    _tree_checks.check_held(
        "anchor",
        state.anchor,
        ws,
        lambda a, w: jnp.promote_types(a.dtype, w.dtype) == a.dtype,
    )


def _check_arguments(optimizer: Any, period: Any, axis_name: Any) -> None:
    check_optimizer(
        "optimizer", optimizer, "optax.sgd(0.7, momentum=0.9, nesterov=True)"
    )
    hint = "write a whole number of updates such as period=30"
    _validation.check_number("period", period, _validation.PERIOD, hint)
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    are_texts = names and all(isinstance(x, str) for x in names)
    if axis_name is not None and not are_texts:
        raise TypeError(
            f"axis_name must be a text, a tuple of texts or None, got {axis_name!r}; "
            "write the axis_name of jax.vmap or that of a mesh, such as "
            "axis_name='workers'."
        )
