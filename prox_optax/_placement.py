"""Copies of arrays, and where they lie: devices, meshes, manual axes."""

from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType


def copied(w: Any, dtype: Any) -> jax.Array:
    """Return a buffer of its own for ``w``, strongly typed; infinity for a shape.

    Infinity marks an anchor that was not taken yet: a pull towards it shows.
    """
    dtype = jnp.result_type(w) if dtype is None else jnp.dtype(dtype)
    if isinstance(w, jax.ShapeDtypeStruct):
        return jax.device_put(np.full(w.shape, np.inf, dtype))  # computes no infinity
    return jnp.array(w, dtype, copy=True)


def copied_like(w: Any, a: jax.Array) -> jax.Array:
    """Return a copy of ``w`` in the dtype of ``a`` and where ``a`` lies.

    A copy stays uncommitted to its device if ``a`` is: a committed one would make the
    next step compile again.
    """
    copy = copied(placed_like(w, a), a.dtype)
    if in_manual_mesh():
        return jnp.where(False, a, copy)  # varies where a does
    if is_concrete(a):
        if a.committed or copy.sharding != a.sharding:
            return jax.device_put(copy, a.sharding)
        if copy.committed:
            return jnp.asarray(np.asarray(copy))
    return copy


def is_concrete(x: Any) -> TypeGuard[jax.Array]:
    """Tell whether ``x`` is a JAX array whose value is known."""
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)


def strong(w: Any) -> jax.Array:
    """Return ``w`` as an array without a weak type."""
    if isinstance(w, jax.Array) and not w.weak_type:
        return w
    return jnp.asarray(w, jnp.result_type(w))


def placed_like(w: Any, a: jax.Array) -> Any:
    """Return ``w`` with the sharding of ``a``, where a mesh makes it explicit."""
    sharding = jax.typeof(a).sharding
    explicit = AxisType.Explicit in sharding.mesh.axis_types
    if not explicit or jax.typeof(w).sharding == sharding:
        return w
    return jax.sharding.reshard(w, sharding)


def in_manual_mesh() -> bool:
    """Tell whether this is traced inside ``jax.shard_map``."""
    return AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types


def varying_like(arrays: Any, w: jax.Array) -> jax.Array:
    """Return ``w``, varying over all axes of a manual mesh that ``arrays`` do."""
    for x in jax.tree.leaves(arrays):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        w = jnp.where(False, x.ravel()[0].astype(jnp.result_type(w)), w)
    return w


def axes_of(arrays: Any) -> set[str]:
    """Return the axes of a manual mesh that any of ``arrays`` varies over."""
    mesh = jax.sharding.get_abstract_mesh()
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    manual = [name for name, kind in types if kind == AxisType.Manual]
    leaves = jax.tree.leaves(arrays)
    return {name for name in manual if any(_varied(x, name) is x for x in leaves)}


def varying_over(axes: set[str], arrays: Any) -> Any:
    """Return ``arrays``, all varying over ``axes`` of a manual mesh."""
    for name in sorted(axes):
        arrays = jax.tree.map(lambda x, name=name: _varied(x, name), arrays)
    return arrays


def _varied(x: jax.Array, name: str) -> jax.Array:
    """Return ``x`` varying over an axis: itself where it does, which JAX refuses."""
    try:
        varied: jax.Array = jax.lax.pcast(x, name, to="varying")
    except ValueError:
        return x
    return varied


def widened(x: Any) -> Any:
    """Return ``x``, an array of 8 or 16 bits an entry in float32."""
    if not hasattr(x, "dtype") or x.dtype.itemsize >= 4:
        return x
    return x.astype(jnp.float32)


def wide_dtype(*arrays: jax.Array) -> jnp.dtype:
    """Return the dtype to compute in with ``arrays``: float32 or wider."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
