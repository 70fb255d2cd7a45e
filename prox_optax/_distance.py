"""How far the parameters are from their anchor and how hard it pulls: to be logged."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _compact, _validation
from prox_optax._anchor import (
    State,
    anchored_states,
    placed_like,
    wide_dtype,
    without_masked,
)
from prox_optax._arguments import is_schedule
from prox_optax._compact import CompactState


class AnchorDistance(NamedTuple):
    """What :func:`anchor_distance` returns: arrays of shape (), float32 or wider.

    Attributes:
      norm: the distance of all parameters that have an anchor.
      relative: the same over the norm of the parameters or of the anchor, whichever is
        larger: in [0, 2].
      leaf_norm: the distance of each leaf, in the structure of the params, with an
        ``optax.MaskedNode`` for a leaf that has no anchor.
      leaf_relative: the relative distance of each leaf, likewise.
    """

    norm: jax.Array
    relative: jax.Array
    leaf_norm: Any
    leaf_relative: Any


def anchor_distance(opt_state: optax.OptState, params: optax.Params) -> AnchorDistance:
    r"""The distance of ``params`` from the anchor in an optimizer state.

    .. math::

      d = \|w - a\|, \qquad d_{\mathrm{rel}} = \frac{\|w - a\|}{\max(\|w\|, \|a\|)}

    of each leaf and of all together, in float32 or wider; :math:`0 / 0` counts as 0.
    The relative one is finite also for a bias whose anchor is 0. It reads the
    parameters and the anchor once: cheap enough for the jitted step.

    The state holds the anchor that its last update pulled towards. With the params
    before that update this is the distance it saw, 0 at the first of each period; with
    those after it, how far they have come.

    Args:
      opt_state: the state of an optimizer, at any depth as for :func:`set_anchor`, with
        at most one anchor for each parameter.
      params: the parameters, with the structure and shapes given to ``init``.

    Returns:
      An :class:`AnchorDistance`: ``norm``, ``relative``, ``leaf_norm``,
      ``leaf_relative``.

    Raises:
      ValueError: for a state without an anchor, params that do not fit it, or a
        parameter with two anchors.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.trsgd(0.1)
      >>> state = tx.init({"w": jnp.array([0.0, 4.0])})
      >>> distance = prox_optax.anchor_distance(state, {"w": jnp.array([3.0, 4.0])})
      >>> float(distance.norm), round(float(distance.leaf_relative["w"]), 3)
      (3.0, 0.6)
    """
    known = _known(opt_state, params)
    far = {path: optax.tree.norm(d) for path, (_, _, d) in known.items()}
    of_w = {path: optax.tree.norm(w) for path, (w, _, _) in known.items()}
    of_a = {path: optax.tree.norm(a) for path, (_, a, _) in known.items()}
    relative = {path: _ratio(far[path], of_w[path], of_a[path]) for path in known}
    whole = [optax.tree.norm(list(norms.values())) for norms in (far, of_w, of_a)]

    def like_params(values: dict[Any, jax.Array]) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: values.get(path, optax.MaskedNode()), params
        )

    return AnchorDistance(
        whole[0], _ratio(*whole), like_params(far), like_params(relative)
    )


def pull_ratio(
    opt_state: optax.OptState,
    params: optax.Params,
    gradients: optax.Updates,
    strength: ArrayLike | optax.Params,
) -> jax.Array:
    r"""The size of the pull over that of the gradient it is added to.

    .. math:: \rho = \frac{\|2 \lambda\,(w - a)\|}{\|g\|}

    over the leaves that have an anchor; :math:`0 / 0` counts as 0. Far below 1 the
    gradient hardly feels the pull, far above 1 the pull holds the parameters at the
    anchor. Give the state after the update, and the gradients that went into it at the
    params before it: they saw this pull.

    Args:
      opt_state: as for :func:`anchor_distance`, after the update.
      params: :math:`w`, before the update.
      gradients: :math:`g`, like the params. Of the decoupled forms give the steps that
        go into :func:`decoupled_proximal`, inner decay included.
      strength: :math:`\lambda`, a number, or a tree with the structure of the params;
        a schedule's value at the step. In :func:`trsgd` and :func:`tradam` it is
        ``lambda_w / learning_rate``; of :func:`decoupled_proximal` give ``lambda_w``,
        of :func:`trsgdw` and :func:`tradamw` ``lambda_w / (k + 1)``, :math:`k` steps
        after the anchor was taken.

    Returns:
      :math:`\rho \ge 0`, shape (), float32 or wider.

    Raises:
      TypeError, ValueError: as :func:`anchor_distance`; also for gradients or a
        strength that do not fit the params.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.proximal(0.5, period=None)
      >>> state = tx.init(jnp.zeros(2))
      >>> ratio = prox_optax.pull_ratio(state, jnp.ones(2), jnp.array([2.0, 2.0]), 0.5)
      >>> float(ratio)
      0.5
    """
    if is_schedule(strength):
        raise TypeError("strength is a schedule; give its value at the step.")
    _validation.check_weights("strength", strength)
    known = _known(opt_state, params)
    lam: Any = strength
    if jax.tree_util.all_leaves([lam]) and jnp.ndim(lam) == 0:
        lam = jax.tree.map(lambda _: strength, params)
    _validation.check_weights_fit("strength", lam, params)
    _validation.check_gradients(gradients, params)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    lams = dict(zip(paths, jax.tree.leaves(lam), strict=True))
    grads = dict(zip(paths, jax.tree.leaves(gradients), strict=True))
    pulls = [2 * lams[path] * d for path, (_, _, d) in known.items()]
    wide_grads = [jnp.asarray(grads[path], wide_dtype(grads[path])) for path in known]
    return _ratio(optax.tree.norm(pulls), optax.tree.norm(wide_grads))


def _known(
    opt_state: optax.OptState, params: optax.Params
) -> dict[Any, tuple[jax.Array, jax.Array, jax.Array]]:
    """``w, a, w - a`` of each parameter that has an anchor, by its path."""
    known: dict[Any, tuple[jax.Array, jax.Array, jax.Array]] = {}
    for state in anchored_states(opt_state):
        given = without_masked(params, state[0])
        _validation.check_like_anchor(given, state[0], "in this state")
        for (path, _), triple in zip(
            jax.tree_util.tree_leaves_with_path(given),
            _triples(state, jax.tree.leaves(given)),
            strict=True,
        ):
            if path in known:
                raise ValueError(
                    f"params{jax.tree_util.keystr(path)} has two anchors; pass the "
                    "part of the optimizer's state that holds the one you mean."
                )
            known[path] = triple
    return known


def _triples(
    state: State, params: list[Any]
) -> Iterator[tuple[jax.Array, jax.Array, jax.Array]]:
    ws = list(map(placed_like, params, jax.tree.leaves(state[0])))
    if isinstance(state, CompactState):
        for w, d in zip(ws, _compact.displacements(state, ws), strict=True):
            yield w, w - d, d
        return
    for w, a in zip(ws, jax.tree.leaves(state.anchor), strict=True):
        wide = wide_dtype(w, a)
        w, a = jnp.asarray(w, wide), jnp.asarray(a, wide)
        yield w, a, w - a


def _ratio(size: jax.Array, *others: jax.Array) -> jax.Array:
    """``size`` over the largest of the others, 0 / 0 = 0."""
    largest = jnp.max(jnp.stack(others))
    return jnp.where(size == 0, 0.0, size / jnp.where(size == 0, 1.0, largest))
