"""The states of pulls: their kinds, and how their anchors are read and set."""

from typing import Any, TypeAlias, TypeGuard, get_args

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, keystr, tree_leaves_with_path

from prox_optax import _tree_checks
from prox_optax._anchor import OuterState, ProximalState
from prox_optax._compact import CompactState
from prox_optax._match import Names, leaf_at, matched, names
from prox_optax._placement import is_concrete, placed_like, strong
from prox_optax._types import OptState, Params

State: TypeAlias = CompactState | ProximalState
"""The ways to keep an anchor: one is picked by the dtype that the anchor is kept in.

A new way is a file with a class like these, and its name here before the last. All have
the same methods. The first field has the structure and the shapes of the parameters.
The last is ``step``, whose sign is a flag: see :class:`ProximalState`.
"""

Anchored: TypeAlias = State | OuterState
"""The states with an anchor: the others have no pull."""


def set_anchor(
    opt_state: OptState, params: optax.Params, name: str | None = None
) -> OptState:
    """Set every anchor in an optimizer state, or a named one, to a copy of ``params``.

    The next update pulls towards what was set; after that the anchor goes on moving
    at its period, whose phase stays as it was. Of :func:`outer` the next outer step,
    which the next update may be, starts from what was set. Works under ``jit`` too.

    Args:
      opt_state: the state of an optimizer that holds :func:`proximal`,
        :func:`decoupled_proximal`, :func:`outer` or an alias, at any depth
        (``optax.chain``, ``masked``, ``partition``, ``inject_hyperparams``,
        ``MultiSteps``, ...).
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
    chosen = {names(path) for path, _ in anchored_states(opt_state, params, name)}
    if params is None:
        raise ValueError("set_anchor needs the params to pull towards, got None.")

    def reset(path: Any, node: Any) -> Any:
        if names(path) not in chosen:
            return node
        node.check_settable()
        return node.set_to(fitted(params, node, "in this state"))

    return jax.tree_util.tree_map_with_path(reset, opt_state, is_leaf=is_anchored)


def get_anchor(
    opt_state: optax.OptState, params: Params, name: str | None = None
) -> Params:
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
    opt_state: Any, params: Any, name: str | None
) -> list[tuple[Any, Anchored]]:
    """Return the states with an anchor in ``opt_state``, at least one, with paths."""
    states = _anchors_in(opt_state)
    if not states and _anchors_in(params):
        raise ValueError(
            "the arguments are swapped: the first is the optimizer's state, which "
            "holds the anchor, and the second the params."
        )
    if not states:
        raise ValueError(
            "opt_state holds no anchor; build the optimizer with prox_optax.proximal, "
            "decoupled_proximal, outer or an alias such as tradam, and pass its whole "
            "state, from a checkpoint restored with a target such as what init makes."
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


def _anchors_in(tree: Any) -> list[tuple[Any, Anchored]]:
    nodes = tree_leaves_with_path(tree, is_leaf=is_anchored)
    return [(path, node) for path, node in nodes if is_anchored(node)]


def anchored_leaves(
    opt_state: Any, params: Any, name: str | None
) -> list[tuple[list[Names], Anchored, list[jax.Array]]]:
    """Return each state's names of leaves, the state, and those leaves of ``params``.

    No leaf is in two of them.
    """
    states = anchored_states(opt_state, params, name)
    of_leaf: dict[Names, str] = {}
    found = []
    for (_, state), label in zip(states, _labels(states), strict=True):
        ws = fitted(params, state, "in this state")
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
    return [*_dict_keys(path), *(keystr(path[:n]) for n in range(1, len(path) + 1))]


def _labels(states: list[tuple[Any, Anchored]]) -> list[str]:
    """Return a name for each state: its last key where that is its own, or its path."""
    last = [next(reversed(_dict_keys(path)), None) for path, _ in states]
    return [
        key if key is not None and last.count(key) == 1 else keystr(path)
        for key, (path, _) in zip(last, states, strict=True)
    ]


def _dict_keys(path: Any) -> list[str]:
    return [str(key.key) for key in path if isinstance(key, DictKey)]


def kind_of_state(anchor_dtype: Any, period: Any, anchor_step: Any) -> type[State]:
    """Return the first kind of state that keeps an anchor as these arguments say."""
    kinds: tuple[type[State], ...] = get_args(State)
    return next(k for k in kinds if k.keeps(anchor_dtype, period, anchor_step))


def is_anchored(node: Any) -> TypeGuard[Anchored]:
    """Tell whether ``node`` is a state with an anchor."""
    return isinstance(node, Anchored)


def leaves_at(
    params: optax.Params | None, state: Any, updates: optax.Updates
) -> list[jax.Array]:
    """Return the leaves of ``params`` that ``state`` has anchors of, in an update.

    Leaves that ``updates`` have a None for may be in ``params`` alone.
    """
    if not is_anchored(state):
        _tree_checks.refuse_foreign_state(state)
    if params is None:
        raise ValueError(
            "The anchor needs the current params: call update(updates, state, params)."
        )
    return fitted(params, state, "taken at init", updates)


def of_pull(chain_state: Any, index: int) -> Anchored:
    """Return a chain's state of a pull, or raise where it has none at ``index``."""
    is_chain = isinstance(chain_state, tuple) and chain_state
    state = chain_state[index] if is_chain else chain_state
    if not is_anchored(state):
        _tree_checks.refuse_foreign_state(state)
    return state


def fitted(
    params: Any, state: Anchored, where: str, updates: Any = ()
) -> list[jax.Array]:
    """Return the leaves of ``params`` that have an anchor in ``state``, as arrays."""
    if params is None:
        raise ValueError("The anchor needs the current params: got None.")
    unfit, held = f"params do not fit the anchor {where}:", jax.tree.leaves(state[0])
    ws = list(map(strong, matched(params, state[0], unfit, updates)))
    for index, (w, a) in enumerate(zip(ws, held, strict=True)):
        if jnp.shape(w) != jnp.shape(a):
            cure = (
                "the state is one of several runs: put this call into jax.vmap."
                if _tree_checks.is_stack(state.step)
                else "call init again after changing the parameters."
            )
            raise ValueError(
                f"{unfit} leaf {leaf_at(state[0], index)} has shape {jnp.shape(w)}, "
                f"the anchor {jnp.shape(a)}; {cure}"
            )
    state.check(ws)
    return list(map(placed_like, ws, held))


def check_kind(
    state: State, ws: list[jax.Array], kind: type[State], anchor_dtype: Any
) -> None:
    """Raise unless a state is what an optimizer with ``anchor_dtype`` makes."""
    _tree_checks.check_step("step", state.step)
    if not isinstance(state, kind):
        raise ValueError(
            f"the state is a {type(state).__name__} and the optimizer has "
            f"anchor_dtype={anchor_dtype!r}; build it as it was when the state was "
            "made, or call prox_optax.carry_over(saved_state, init(params), step)."
        )
    state.check_dtype(ws, anchor_dtype)
