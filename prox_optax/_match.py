"""Which leaf of one tree belongs to which leaf of another.

A model comes in several containers: the params of a Flax NNX model are variables at
``init`` and bare arrays at ``update``; an Equinox model holds functions beside its
arrays; a mask leaves parts out; one strength may stand for a whole subtree. So leaves
are matched by their names, not by the structures that hold them.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

Names: TypeAlias = tuple[Any, ...]
_OF_INIT = (
    "give a tree with the structure that init was given (of a Flax NNX model "
    "nnx.state(model, nnx.Param), or with the filter given as wrt; of an Equinox model "
    "what eqx.filter left for init)"
)


def names(path: tuple[Any, ...]) -> Names:
    """Return the keys on the way to a leaf, whatever containers hold it.

    The ``.value`` at the end of the path into a Flax NNX variable is left out.
    """
    if path and path[-1] == GetAttrKey("value"):
        path = path[:-1]
    return _all_names(path)


def _all_names(path: tuple[Any, ...]) -> Names:
    return tuple(_name(key) for key in path)


def _name(key: Any) -> Any:
    for attribute in ("key", "idx", "name"):  # of a dict, a sequence, an attribute
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key


def named(tree: Any) -> dict[Names, Any]:
    """Return the leaves of ``tree`` by their names, in order."""
    return {names(path): leaf for path, leaf in tree_flatten_with_path(tree)[0]}


def keys_to(tree: Any, index: int) -> str:
    """Return the keys to a leaf of ``tree``, by its place, as they are written."""
    path, _ = tree_flatten_with_path(tree)[0][index]
    return keystr(path)


def leaf_at(tree: Any, index: int) -> str:
    """Name a leaf of ``tree`` by its place, for an error."""
    return keys_to(tree, index) or "(a single array)"


def matched(tree: Any, like: Any, what: str, updates: Any = ()) -> list[Any]:
    """Return the leaves of ``tree`` in the order of those of ``like``.

    What has no counterpart is left out if it is no floating or complex array (the
    functions and the counters of a whole model), if ``like`` holds a ``MaskedNode``
    there, or if ``updates`` have a None there (what is frozen).
    """
    if _alike(tree, like):
        return jax.tree.leaves(tree)
    left_out = _over(_paths_to(like, _is_masked) + _paths_to(updates, _is_none))

    def may_add(path: Any, leaf: Any) -> bool:
        return not _is_parameter(leaf) or left_out(path) is not None

    paths, _ = tree_flatten_with_path(tree)
    return _counterparts(paths, like, what, lambda _: False, may_add)


def matched_updates(
    updates: optax.Updates, like: optax.Params
) -> tuple[list[Any], Callable[[list[Any]], optax.Updates]]:
    """Return the update of each leaf of ``like``, and what makes a tree of new ones.

    A None may stand for the update of a part: it stays.
    """
    if _alike(updates, like):
        leaves, structure = jax.tree.flatten(updates)
        return leaves, partial(jax.tree.unflatten, structure)
    paths, structure = tree_flatten_with_path(updates, is_leaf=_is_none)
    absent = _over(path for path, u in paths if u is None)
    us = _counterparts(
        paths,
        like,
        "updates do not fit the params:",
        lambda path: absent(path) is not None,
        lambda _, u: u is None,
    )

    def rebuild(new: list[Any]) -> optax.Updates:
        by_name = dict(zip(named(like), new, strict=True))
        us = [by_name.get(names(path)) for path, _ in paths]
        return jax.tree.unflatten(structure, us)

    return us, rebuild


def _counterparts(
    paths: list[tuple[Any, Any]],
    like: Any,
    what: str,
    may_lack: Callable[[Any], bool],
    may_add: Callable[[Any, Any], bool],
) -> list[Any]:
    """Return the leaf at the name of each leaf of ``like``, None where it may lack."""
    given = {names(path): leaf for path, leaf in paths}
    wanted = {names(path): path for path, _ in tree_flatten_with_path(like)[0]}
    for name, path in wanted.items():
        if name not in given and not may_lack(path):
            raise ValueError(f"{what} {_absent(path, paths)}; {_OF_INIT}.")
    for path, leaf in paths:
        if names(path) not in wanted and not may_add(path, leaf):
            raise ValueError(f"{what} leaf {_where(path)} is extra; {_OF_INIT}.")
    return [given.get(name) for name in wanted]


def spread(name: str, prefix: Any, like: Any) -> list[Any]:
    """Return, for each leaf of ``like``, the leaf of ``prefix`` that stands for it.

    A number stands for all leaves below it, an array for one leaf.
    """
    if jax.tree_util.all_leaves([prefix]) and jnp.ndim(prefix) == 0:
        return [prefix] * len(jax.tree.leaves(like))
    unfit = f"{name} must be one number or have the structure of params, but"
    paths, _ = tree_flatten_with_path(prefix)
    given = {names(path): leaf for path, leaf in paths}
    standing_for = _over(path for path, _ in paths)
    found: list[Any] = []
    masks = _paths_to(like, _is_masked)
    masked, used = _over(masks), {standing_for(path) for path in masks}
    for path, leaf in tree_flatten_with_path(like)[0]:
        key = standing_for(path)
        if key is None or (key != names(path) and jnp.ndim(given[key]) > 0):
            raise ValueError(
                f"{unfit} {_absent(path, paths)}; give each leaf of params a number or "
                "an array, or a number to a whole subtree."
            )
        if not _broadcasts(jnp.shape(given[key]), jnp.shape(leaf)):
            raise ValueError(
                f"{name}{keystr(path)} has shape {jnp.shape(given[key])}, which does "
                f"not fit the parameter's {jnp.shape(leaf)}; write a number or an "
                "array of the parameter's shape."
            )
        found.append(given[key])
        used.add(key)
    for path, _ in paths:
        if found and names(path) not in used and masked(path) is None:
            raise ValueError(f"{unfit} leaf {_where(path)} is extra; {_OF_INIT}.")
    return found


def _absent(path: Any, paths: list[tuple[Any, Any]]) -> str:
    """Say that a leaf is missing, or that the tree has leaves below it instead."""
    is_above = _over([path])
    below = next((p for p, _ in paths if is_above(p) is not None), None)
    if below is None:
        return f"leaf {_where(path)} is missing"
    here = keystr(path) or "the whole"
    return f"it goes deeper, to {keystr(below)}, where {here} is a single array"


def _over(paths: Iterable[Any]) -> Callable[[Any], Names | None]:
    """Return a function that names which of ``paths`` is at its argument or above it.

    Above it ``.value`` counts: there it is no variable's, but a field of a model.
    """
    here, above = set(), {}
    for path in paths:
        here.add(names(path))
        above[_all_names(path)] = names(path)

    def over(path: Any) -> Names | None:
        if names(path) in here:
            return names(path)
        nodes = (_all_names(path[:n]) for n in range(len(path), -1, -1))
        return next((above[node] for node in nodes if node in above), None)

    return over


def _paths_to(tree: Any, wanted: Callable[[Any], bool]) -> list[Any]:
    """Return the paths of all that is ``wanted``, which may be no leaf for JAX."""
    nodes, _ = tree_flatten_with_path(tree, is_leaf=wanted)
    return [path for path, node in nodes if wanted(node)]


def _alike(tree: Any, like: Any) -> bool:
    """Tell whether two trees have the same structure, containers included."""
    structure: Any = jax.tree.structure(tree)
    return structure == jax.tree.structure(like)


def _is_none(node: Any) -> bool:
    return node is None


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _is_parameter(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _where(path: Any) -> str:
    return keystr(path) or "(a single array)"


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False)
    )
