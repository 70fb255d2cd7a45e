"""The anchor: its state, and how it is set and read from outside."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, keystr, tree_leaves_with_path
from jax.typing import ArrayLike

from prox_optax import _tree_checks
from prox_optax._compact import CompactState
from prox_optax._match import Names, matched, names
from prox_optax._placement import copied_like, is_concrete, placed_like, strong


class ProximalState(NamedTuple):
    """State of :func:`proximal` and :func:`decoupled_proximal`: arrays only.

    Attributes:
      anchor: a copy of the parameters taken earlier: their structure and shapes, in
        their dtype or in ``anchor_dtype``; infinite after an abstract init, until it
        is taken.
      step: int32, shape (). The anchor moves where ``step % period == 0``. With a
        constant strength the counter stays in [0, period); with a schedule it counts
        the updates and, at 2**31 - 1, goes back by one period, so that neither the
        period nor a schedule of that period ever stops or slips. :func:`carry_over`
        writes the number of all steps, :func:`set_anchor` ``~step`` (a negative
        number): the next update keeps the anchor.
    """

    anchor: optax.Params
    step: jax.Array

    def taken(self, ws: list[jax.Array]) -> "ProximalState":
        """Return the state with the anchor at ``ws``, the leaves of the params."""
        anchors = jax.tree.leaves(self.anchor)
        return self._at(
            [
                w if w.dtype == a.dtype else w.astype(a.dtype)
                for w, a in zip(ws, anchors, strict=True)
            ]
        )

    def approached(self, ws: list[jax.Array], s: ArrayLike) -> "ProximalState":
        """Return the state with the anchor at ``a + s (w - a)``; if untaken, ``w``."""

        def approach(w: jax.Array, a: jax.Array) -> jax.Array:
            wide = wide_dtype(a, w)
            a_wide, w_wide = jnp.asarray(a, wide), jnp.asarray(w, wide)
            whole = (s == 1) | ~jnp.isfinite(a)
            moved = jnp.where(whole, w_wide, a_wide + s * (w_wide - a_wide))
            return moved.astype(a.dtype)

        return self._at(list(map(approach, ws, jax.tree.leaves(self.anchor))))

    def displacements(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``w - a`` of each leaf, float32 or wider; 0 where equal, also inf."""
        return list(map(_displacement, ws, jax.tree.leaves(self.anchor)))

    def anchors(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``a`` of each leaf."""
        del ws
        return jax.tree.leaves(self.anchor)

    def _at(self, anchors: list[jax.Array]) -> "ProximalState":
        structure = jax.tree.structure(self.anchor)
        return self._replace(anchor=jax.tree.unflatten(structure, anchors))


@jax.jit  # traced once for leaves of the same shape
def _displacement(w: jax.Array, a: jax.Array) -> jax.Array:
    wide = wide_dtype(w, a)
    w, a = jnp.asarray(w, wide), jnp.asarray(a, wide)
    return jnp.where(w == a, 0, w - a)


State: TypeAlias = ProximalState | CompactState
"""The first field has the structure and the shapes of the parameters."""


def set_anchor(
    opt_state: optax.OptState, params: optax.Params, name: str | None = None
) -> optax.OptState:
    """Set every anchor in an optimizer state, or a named one, to a copy of ``params``.

    The next update pulls towards what was set; after that the anchor goes on moving
    at its period, whose phase stays as it was. Works under ``jit`` too.

    Args:
      opt_state: the state of an optimizer that holds :func:`proximal`,
        :func:`decoupled_proximal` or an alias, at any depth (``optax.chain``,
        ``masked``, ``partition``, ``inject_hyperparams``, ``MultiSteps``, ...).
      params: the parameters to be pulled towards, with the structure and shapes given
        to ``init``; a whole model, whose other leaves are not used; or
        ``nnx.state(model, nnx.Param)``. Where an anchor is masked, its part of
        ``params`` is used; inside ``optax.flatten`` ``init`` was given one raveled
        array.
      name: which anchor of several, as in :func:`get_anchor`; None sets all.

    Returns:
      The state with new anchors, in the dtypes and shardings of the old ones; all else
      is shared.

    Raises:
      ValueError: for a state without an anchor, or params that do not fit it; for a
        name that no anchor has; outside ``jit`` for params that are NaN; for
        ``anchor_dtype="int16"``, which tells an anchor only near the params.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = optax.chain(prox_optax.proximal(0.5, period=None), optax.sgd(1.0))
      >>> state = tx.init(jnp.zeros(2))
      >>> state = prox_optax.set_anchor(state, jnp.ones(2))
      >>> tx.update(jnp.zeros(2), state, jnp.zeros(2))[0]
      Array([1., 1.], dtype=float32)
    """
    chosen = {names(path) for path, _ in anchored_states(opt_state, name)}
    if params is None:
        raise ValueError("set_anchor needs the params to pull towards, got None.")

    def reset(path: Any, node: Any) -> Any:
        if names(path) not in chosen:
            return node
        _tree_checks.check_can_be_set(node)
        ws = fitted(params, node, "in this state")
        _tree_checks.check_readable(node, ws)
        _tree_checks.check_no_nan(ws, node.anchor)
        # Leaf by leaf: Flax NNX keeps the state's leaves in containers of its own.
        olds, structure = jax.tree.flatten(node.anchor)
        anchor = jax.tree.unflatten(structure, map(copied_like, ws, olds))
        step = jax.tree.map(lambda t: jnp.where(t < 0, t, ~t), node.step)
        return ProximalState(anchor, step)

    return jax.tree_util.tree_map_with_path(reset, opt_state, is_leaf=is_anchored)


def get_anchor(
    opt_state: optax.OptState, params: optax.Params, name: str | None = None
) -> optax.Params:
    """Read the anchor in an optimizer state.

    Args:
      opt_state: the state of an optimizer, at any depth as for :func:`set_anchor`.
      params: the current parameters, as for :func:`set_anchor`. They give the
        structure, and an anchor of ``anchor_dtype="int16"`` is told from them.
      name: which anchor, where a parameter has several: the key that
        ``optax.named_chain`` (or ``optax.partition``) gave to its part of the state,
        or its path into the state, such as ``"[0]"`` in a chain.

    Returns:
      The anchor in the structure of ``params``, with an ``optax.MaskedNode`` for a
      leaf that has none. Its dtype is that of the anchor; of an int16 anchor that of
      the params. Outside ``jit`` the arrays are copies: donating the state leaves them
      alone.

    Raises:
      ValueError: for a state without an anchor, params that do not fit it, a
        parameter with several anchors and no name, or a name that no anchor has.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.trsgd(0.1)
      >>> w = {"w": jnp.array([1.0, 2.0])}
      >>> state = tx.init(w)
      >>> updates, state = tx.update(w, state, w)
      >>> w = optax.apply_updates(w, updates)
      >>> prox_optax.get_anchor(state, w)["w"], w["w"]
      (Array([1., 2.], dtype=float32), Array([0.9, 1.8], dtype=float32))
    """
    anchors: dict[Names, jax.Array] = {}
    for full, state, ws in anchored_leaves(opt_state, params, name):
        anchors.update(zip(full, state.anchors(ws), strict=True))

    def own(path: Any, _: Any) -> Any:
        a = anchors.get(names(path), optax.MaskedNode())
        return jnp.array(a, copy=True) if is_concrete(a) else a

    return jax.tree_util.tree_map_with_path(own, params)


def anchored_states(
    opt_state: optax.OptState, name: str | None = None
) -> list[tuple[Any, State]]:
    """Return the states of pulls in ``opt_state``, at least one, with their paths."""
    nodes = tree_leaves_with_path(opt_state, is_leaf=is_anchored)
    states = [(path, node) for path, node in nodes if is_anchored(node)]
    if not states:
        raise ValueError(
            "opt_state holds no anchor; build the optimizer with prox_optax.proximal, "
            "decoupled_proximal or an alias such as tradam, and pass its whole state, "
            "from a checkpoint restored with a target such as what init makes."
        )
    if name is None:
        return states
    if not isinstance(name, str):
        raise TypeError(f"name must be a text or None, got {name!r}; write name=None.")
    found = [(path, node) for path, node in states if name in _called(path)]
    if not found:
        known = ", ".join(map(repr, _labels(states)))
        raise ValueError(
            f"name fits no anchor: none is called {name!r}; there is: {known}. Write "
            "name=None where there is one."
        )
    return found


def anchored_leaves(
    opt_state: optax.OptState, params: optax.Params, name: str | None
) -> list[tuple[list[Names], State, list[jax.Array]]]:
    """Return each state's names of leaves, the state, and those leaves of ``params``.

    No leaf is in two of them.
    """
    states = anchored_states(opt_state, name)
    of_leaf: dict[Names, str] = {}
    found = []
    for (_, state), label in zip(states, _labels(states), strict=True):
        ws = fitted(params, state, "in this state")
        _tree_checks.check_readable(state, ws)
        full = []
        for leaf_path, _ in tree_leaves_with_path(state[0]):
            full.append(names(leaf_path))
            other = of_leaf.setdefault(full[-1], label)
            if other != label:
                raise ValueError(
                    f"params{keystr(leaf_path)} has two anchors; write name={other!r} "
                    f"or name={label!r}."
                )
        found.append((full, state, ws))
    return found


def _called(path: Any) -> list[str]:
    """Return what a state of a pull may be called: keys and paths on the way to it."""
    return [*_keys(path), *(keystr(path[:n]) for n in range(1, len(path) + 1))]


def _labels(states: list[tuple[Any, State]]) -> list[str]:
    """Return a name for each state: its last key where that is its own, or its path."""
    last = [next(reversed(_keys(path)), None) for path, _ in states]
    return [
        key if key is not None and last.count(key) == 1 else keystr(path)
        for key, (path, _) in zip(last, states, strict=True)
    ]


def _keys(path: Any) -> list[str]:
    return [str(key.key) for key in path if isinstance(key, DictKey)]


def fitted(params: Any, state: State, where: str, updates: Any = ()) -> list[jax.Array]:
    """Return the leaves of ``params`` that have an anchor in ``state``, as arrays."""
    if params is None:
        raise ValueError(
            "The pull towards an anchor needs the current params: call "
            "update(updates, state, params)."
        )
    leaves = matched(
        params, state[0], f"params do not fit the anchor {where}:", updates
    )
    held = jax.tree.leaves(state[0])
    ws = list(map(strong, leaves))
    _tree_checks.check_shapes(ws, state[0], where)
    return list(map(placed_like, ws, held))


def is_anchored(node: Any) -> bool:
    return isinstance(node, ProximalState | CompactState)


def wide_dtype(*arrays: jax.Array) -> jnp.dtype:
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
