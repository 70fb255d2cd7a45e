"""Numbers to log: how far the parameters are from their anchor, how hard it pulls."""

from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _tree_checks, _validation
from prox_optax._match import Names, matched, named, names, spread
from prox_optax._placement import wide_dtype, widened
from prox_optax._states import anchored_leaves
from prox_optax._types import Params
from prox_optax._validation import is_schedule


class AnchorDistance(NamedTuple, Generic[Params]):
    """Hold what :func:`anchor_distance` returns: arrays of shape (), float32 or wider.

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
    leaf_norm: Params
    leaf_relative: Params


def anchor_distance(
    opt_state: optax.OptState, params: Params, name: str | None = None
) -> AnchorDistance[Params]:
    r"""Measure the distance of ``params`` from the anchor in an optimizer state.

    .. math::

      d = \|w - a\|, \qquad d_{\mathrm{rel}} = \frac{\|w - a\|}{\max(\|w\|, \|a\|)}

    of each leaf and of all together, in float32 or wider; :math:`0 / 0` counts as 0.
    The relative one is finite also for a bias whose anchor is 0. It reads the
    parameters and the anchor once: cheap enough for the jitted step.

    The state holds the anchor that its last update pulled towards. With the params
    before that update this is the distance it saw (0 at the first of each period, if
    ``anchor_step`` is 1); with those after it, how far they have come.

    Args:
      opt_state: the state of an optimizer, at any depth as for :func:`set_anchor`.
      params: the parameters that the optimizer updates, as for :func:`set_anchor`. In
        NumPyro these are ``svi.optim.get_params(svi_state.optim_state)``; those in the
        result of ``svi.run`` are constrained.
      name: which anchor, where a parameter has several, as in :func:`get_anchor`.

    Returns:
      An :class:`AnchorDistance`: ``norm``, ``relative``, ``leaf_norm``,
      ``leaf_relative``.

    Raises:
      ValueError: for a state without an anchor, params that do not fit it, a parameter
        with two anchors and no name, a name that no anchor has, or a stack of states.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.trsgd(0.1)
      >>> state = tx.init({"w": jnp.array([0.0, 4.0])})
      >>> distance = prox_optax.anchor_distance(state, {"w": jnp.array([3.0, 4.0])})
      >>> float(distance.norm), round(float(distance.leaf_relative["w"]), 3)
      (3.0, 0.6)
    """
    known = _displaced(opt_state, params, name)
    far = {path: optax.tree.norm(d) for path, (_, _, d) in known.items()}
    of_w = {path: optax.tree.norm(w) for path, (w, _, _) in known.items()}
    of_a = {path: optax.tree.norm(a) for path, (_, a, _) in known.items()}
    relative = {path: _ratio(far[path], of_w[path], of_a[path]) for path in known}
    whole = [optax.tree.norm(list(norms.values())) for norms in (far, of_w, of_a)]

    def like_params(values: dict[Any, jax.Array]) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: values.get(names(path), optax.MaskedNode()), params
        )

    return AnchorDistance(
        whole[0], _ratio(*whole), like_params(far), like_params(relative)
    )


def pull_ratio(
    opt_state: optax.OptState,
    params: optax.Params,
    gradients: optax.Updates,
    strength: ArrayLike | optax.Params,
    name: str | None = None,
) -> jax.Array:
    r"""Measure the size of the pull over that of the gradient it is added to.

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
        times its ``learning_rate`` at the step where it has one; of :func:`trsgdw` and
        :func:`tradamw` ``lambda_w / (k + 1)``, :math:`k` steps after the anchor was
        taken.
      name: which anchor, where a parameter has several, as in :func:`get_anchor`.

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
    known = _displaced(opt_state, params, name)
    like = jax.tree_util.tree_map_with_path(
        lambda path, w: w if names(path) in known else optax.MaskedNode(), params
    )
    lams = spread("strength", strength, like)
    gs = matched(gradients, like, "gradients do not fit the params:")
    _tree_checks.check_updates(gs, jax.tree.leaves(like), like)
    ds = [known[leaf][2] for leaf in named(like)]
    pulls = [2 * widened(lam) * d for lam, d in zip(lams, ds, strict=True)]
    wide_gs = [jnp.asarray(g, wide_dtype(g)) for g in gs]
    return _ratio(optax.tree.norm(pulls), optax.tree.norm(wide_gs))


def _displaced(
    opt_state: Any, params: Any, name: str | None
) -> dict[Names, tuple[jax.Array, ...]]:
    """Return ``w, a, w - a`` of each parameter that has an anchor, by its name."""
    known: dict[Names, tuple[jax.Array, ...]] = {}
    for full, state, ws in anchored_leaves(opt_state, params, name):
        if _tree_checks.is_stack(state.step):
            raise ValueError(
                "opt_state is a stack of states, whose distances would be added up; "
                "write jax.vmap(prox_optax.anchor_distance)(opt_state, params)."
            )
        known.update(zip(full, state.measured(ws), strict=True))
    return known


def _ratio(size: jax.Array, *others: jax.Array) -> jax.Array:
    """Return ``size`` over the largest of the others, with 0 / 0 = 0."""
    largest = jnp.max(jnp.stack(others))
    return jnp.where(size == 0, 0.0, size / jnp.where(size == 0, 1.0, largest))
