"""An anchor kept whole: a copy of the parameters."""

import warnings
from typing import Any, Generic, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from prox_optax import _tree_checks
from prox_optax._match import keys_to, leaf_at
from prox_optax._placement import copied, copied_like, wide_dtype
from prox_optax._types import Params
from prox_optax._validation import check_dtype


class ProximalState(NamedTuple, Generic[Params]):
    """State of :func:`proximal` and :func:`decoupled_proximal`: arrays only.

    Attributes:
      anchor: a copy of the parameters taken earlier: their structure and shapes, in
        their dtype or in ``anchor_dtype``; infinite after an abstract init, until it
        is taken.
      step: int32, shape (). The anchor moves where ``step % period == 0``. With a
        constant strength the counter stays in [0, period); with a schedule it counts
        the updates and, at 2**31 - 1, goes back by one period, so that neither the
        period nor a schedule of that period ever stops or slips. :func:`carry_over`
        writes the number of all steps. The sign is a flag: a negative value is
        ``~step``, that is ``-step - 1``, as :func:`set_anchor` writes it. Then the
        next update keeps the anchor, also where a period begins, and goes on from
        ``step``.
    """

    anchor: Params
    step: jax.Array

    @staticmethod
    def keeps(anchor_dtype: Any, period: Any, anchor_step: Any) -> bool:
        """Tell that this keeps an anchor in ``anchor_dtype``, or raise.

        It is asked last: a dtype that no state before it keeps has to be floating.
        """
        del period, anchor_step
        if anchor_dtype is not None:
            what = "a floating dtype of 16 bits or more, or int16"
            hint = (
                "write anchor_dtype='bfloat16' or 'int16', or None for the params' own "
                "dtype"
            )
            check_dtype("anchor_dtype", anchor_dtype, jnp.inexact, what, hint)
        return True

    @classmethod
    def start(
        cls, params: optax.Params, anchor_dtype: Any, anchor_step: ArrayLike
    ) -> Self:
        """Return the state at init: the anchor is a copy of ``params``."""
        if anchor_dtype is not None:
            kept = jnp.dtype(anchor_dtype)
            is_complex = jnp.issubdtype(kept, jnp.complexfloating)
            _tree_checks.check_dtypes(
                params,
                lambda dtype: jnp.issubdtype(dtype, jnp.complexfloating) == is_complex,
                f" and anchor_dtype is {kept.name}: both must be real or both complex; "
                "write anchor_dtype=None.",
            )
        anchor = jax.tree.map(lambda w: copied(w, anchor_dtype), params)
        _warn_of_rounding(params, anchor, anchor_step)
        return cls(anchor, jnp.zeros([], jnp.int32))

    def check(self, ws: list[jax.Array]) -> None:
        """Raise where this holds no anchor of ``ws``, the leaves of the params."""

        def fits(a: Any, w: Any) -> bool:
            real_or_complex = jnp.issubdtype(a.dtype, jnp.inexact)
            same = jnp.iscomplexobj(a) == jnp.iscomplexobj(w)
            return real_or_complex and jnp.finfo(a.dtype).bits >= 16 and same

        _tree_checks.check_held("anchor", self.anchor, ws, fits)

    def check_dtype(self, ws: list[jax.Array], anchor_dtype: Any) -> None:
        """Raise where the anchor is kept less precisely than ``anchor_dtype`` says."""
        for index, (a, w) in enumerate(
            zip(jax.tree.leaves(self.anchor), ws, strict=True)
        ):
            dtype = w.dtype if anchor_dtype is None else anchor_dtype
            kept = jax.dtypes.canonicalize_dtype(dtype)
            if jnp.promote_types(kept, a.dtype) != a.dtype:
                raise ValueError(
                    f"anchor{keys_to(self.anchor, index)} in the state is {a.dtype} "
                    f"and this optimizer keeps it as {kept}; {_tree_checks.RESTORE}, "
                    f"or write anchor_dtype='{a.dtype}'."
                )

    def check_settable(self) -> None:
        """Do nothing: an anchor that is kept whole may lie anywhere."""

    def moved(self, ws: list[jax.Array], s: ArrayLike | None) -> Self:
        """Return the state with the anchor at ``a + s (w - a)``, at w if s is None."""
        anchors, structure = jax.tree.flatten(self.anchor)
        new = [_moved_leaf(a, w, s) for a, w in zip(anchors, ws, strict=True)]
        return self._replace(anchor=jax.tree.unflatten(structure, new))

    def displacements(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``w - a`` of each leaf, float32 or wider, and 0 where both are inf."""
        return list(map(_displacement, ws, jax.tree.leaves(self.anchor)))

    def measured(self, ws: list[jax.Array]) -> list[tuple[jax.Array, ...]]:
        """Return ``w, a, w - a`` of each leaf for their norms, float32 or wider.

        Here ``w - a`` has no guard at infinity: XLA fuses no guard into a norm, and
        would write out all of ``w - a``, half as many bytes again.
        """
        pairs = map(_widened, ws, jax.tree.leaves(self.anchor))
        return [(w, a, w - a) for w, a in pairs]

    def anchors(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``a`` of each leaf."""
        del ws
        return jax.tree.leaves(self.anchor)

    def set_to(self, ws: list[jax.Array]) -> Self:
        """Return the state with the anchor at copies of ``ws``, for the next update."""
        for index, w in enumerate(ws):
            if not isinstance(w, jax.core.Tracer) and bool(jnp.isnan(w).any()):
                raise ValueError(
                    "set_anchor was given params whose leaf "
                    f"{leaf_at(self.anchor, index)} has NaN: the pull would make all "
                    "of it NaN; pass finite params."
                )
        # Leaf by leaf: Flax NNX keeps the state's leaves in containers of its own.
        anchors, structure = jax.tree.flatten(self.anchor)
        anchor = jax.tree.unflatten(structure, map(copied_like, ws, anchors))
        step = jax.tree.map(lambda t: jnp.where(t < 0, t, ~t), self.step)
        return self._replace(anchor=anchor, step=step)


class OuterState(NamedTuple, Generic[Params]):
    """State of :func:`outer`: arrays only.

    Attributes:
      anchor: the slow weights, with the structure, shapes and dtypes of the parameters.
        After an abstract init it is infinite: it was never taken, and
        :func:`set_anchor` to the first parameters takes it.
      outer_state: the state of the outer optimizer. :func:`carry_over` leaves that of
        the new state, as it leaves the anchor.
      step: int32, shape (): the updates since the last outer step, in [0, period).
        :func:`carry_over` writes the number of all updates. :func:`set_anchor` leaves
        it: an outer step that is due is made, from the anchor that was set.
    """

    anchor: Params
    outer_state: optax.OptState
    step: jax.Array

    def check(self, ws: list[jax.Array]) -> None:
        """Raise as that of `ProximalState`."""
        self._as_of_a_pull().check(ws)

    def check_settable(self) -> None:
        """Do nothing, as that of `ProximalState`."""

    def measured(self, ws: list[jax.Array]) -> list[tuple[jax.Array, ...]]:
        """Return ``w, a, w - a`` of each leaf, as that of `ProximalState`."""
        return self._as_of_a_pull().measured(ws)

    def anchors(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``a`` of each leaf."""
        return self._as_of_a_pull().anchors(ws)

    def set_to(self, ws: list[jax.Array]) -> Self:
        """Return the state with the anchor at copies of ``ws``."""
        return self._replace(anchor=self._as_of_a_pull().set_to(ws).anchor)

    def _as_of_a_pull(self) -> ProximalState[Params]:
        return ProximalState(self.anchor, self.step)


@jax.jit  # traced once for leaves of the same shape
def _displacement(w: jax.Array, a: jax.Array) -> jax.Array:
    w, a = _widened(w, a)
    return jnp.where(w == a, 0, w - a)


def _widened(w: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    wide = wide_dtype(w, a)
    return jnp.asarray(w, wide), jnp.asarray(a, wide)


def _moved_leaf(a: jax.Array, w: jax.Array, s: ArrayLike | None) -> jax.Array:
    if s is None:
        return w if w.dtype == a.dtype else w.astype(a.dtype)
    moved = a.astype(wide_dtype(a, w)) + s * _displacement(w, a)
    whole = (s == 1) | ~jnp.isfinite(a)  # infinite: not taken yet
    return jnp.where(whole, w, moved).astype(a.dtype)


def _warn_of_rounding(
    params: optax.Params, anchor: optax.Params, anchor_step: ArrayLike
) -> None:
    for w, a in zip(jax.tree.leaves(params), jax.tree.leaves(anchor), strict=True):
        dtype = jnp.result_type(w)
        is_fraction = isinstance(anchor_step, int | float) and anchor_step < 1
        if jnp.promote_types(dtype, a.dtype) != a.dtype:
            rounding = 100 * float(jnp.finfo(a.dtype).eps) / 2
            message = (
                f"anchor_dtype={a.dtype.name} is less precise than the params' {dtype}:"
                f" the anchor is off by up to {rounding:.2g} % of each weight, and the "
                "pull with it; at small learning rates that is more than the params "
                "move in a period. anchor_dtype=None avoids it, and 'int16' in 2 bytes "
                "a parameter."
            )
        elif is_fraction and jnp.finfo(a.dtype).bits < 32:
            message = (
                f"an anchor of dtype {a.dtype.name} rounds away the small moves of "
                f"anchor_step={anchor_step}; write anchor_dtype='float32'."
            )
        else:
            continue
        warnings.warn(message, stacklevel=5)
        return
