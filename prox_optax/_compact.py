"""An anchor in 16 bits: each parameter's place in a window that moves with it."""

from typing import Any, Generic, NamedTuple, NoReturn, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from prox_optax import _tree_checks, _validation
from prox_optax._types import Params

_WINDOW = 2.0**15  # units to either side of a parameter that 16 bits tell apart
_HEADROOM = 8.0  # the window over the largest displacement seen
_PLACES = 2.0**24  # units in the largest parameter, at most
_UNTAKEN = float(jnp.finfo(jnp.float32).max)  # a unit after an abstract init


class CompactState(NamedTuple, Generic[Params]):
    r"""State of the pulls with ``anchor_dtype="int16"``: arrays only.

    Of the anchor :math:`a` it holds the last 16 bits of :math:`n(a)`, where
    :math:`n(x) = \operatorname{round}(x / \delta)` counts the units :math:`\delta` of a
    leaf. The displacement comes back as

    .. math:: w - a = \delta \cdot \operatorname{int16}(n(w) - n(a))

    to within :math:`\delta`, and as exactly 0 where :math:`w = a`, as long as
    :math:`|w - a| < W = 2^{15} \delta`. Where the anchor is taken, :math:`\delta`
    becomes the power of two with :math:`8 D < W \le 16 D` for the largest displacement
    :math:`D` of the leaf at the end of the period: the error is below :math:`D / 2000`.
    But it is at least half of what it was, and more than :math:`2^{-24} \max|w|`, the
    rounding of float32. Where :math:`D` reads 0, as nothing moved by half a unit, it
    stays: a leaf that was very large for one period and is small again may not be
    pulled any more. The first :math:`W` is :math:`\max|w|` to :math:`2 \max|w|`, or 1
    for a leaf of zeros.

    A displacement beyond the window is read modulo :math:`2 W`: smaller than it is,
    perhaps with the other sign. Then the window grows at each period, 8 to 16 times in
    a large leaf, until it holds: until then the pull is too weak. So where a strong
    decoupled pull alone holds back steps that are far too large, under gradients with
    heavy tails or after a jump of the learning rate, keep the anchor whole. The anchor
    itself is in no state, only how far the params are from it: :func:`set_anchor`
    refuses, :func:`anchor_distance` reads it.

    It takes 2 bytes a parameter and 4 a leaf, for params of float32 or float64. Where
    the params are sharded, taking the anchor needs an all-reduce for :math:`D` and
    :math:`\max|w|`; the steps in between need none.

    Attributes:
      code: int16, the structure and shapes of the parameters.
      unit: float32, shape (number of leaves,): :math:`\delta`, powers of two. After an
        abstract init the largest float32, until the anchor is taken.
      step: as in :class:`ProximalState`.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = prox_optax.proximal(0.5, period=10, anchor_dtype="int16")
      >>> state = tx.init({"w": jnp.array([1.0, 1.5])})
      >>> int(1 / state.unit[0]), state.code["w"]
      (16384, Array([16384, 24576], dtype=int16))
    """

    code: Params
    unit: jax.Array
    step: jax.Array

    @staticmethod
    def keeps(anchor_dtype: Any, period: Any, anchor_step: Any) -> bool:
        """Tell whether ``anchor_dtype`` asks for this, and check that the rest fits."""
        if not _validation.is_dtype(anchor_dtype, jnp.int16):
            return False
        hint = "write anchor_dtype=None for an anchor that"
        if period is None:
            raise ValueError(
                "anchor_dtype='int16' needs a period: it tells an anchor only near the "
                f"params; {hint} stays."
            )
        if isinstance(anchor_step, jax.Array):
            raise TypeError(
                "anchor_dtype='int16' needs anchor_step=1.0, a number, and it is an "
                "array; under optax.inject_hyperparams name it in static_args, or "
                f"{hint} follows."
            )
        if anchor_step != 1:
            raise ValueError(
                f"anchor_dtype='int16' needs anchor_step=1.0, got {anchor_step}; "
                f"{hint} follows."
            )
        return True

    @classmethod
    def start(
        cls, params: optax.Params, anchor_dtype: Any, anchor_step: ArrayLike
    ) -> Self:
        """Return the state at init; of mere shapes the anchor is not taken yet."""
        del anchor_dtype, anchor_step
        _tree_checks.check_dtypes(
            params,
            lambda dtype: dtype in (jnp.float32, jnp.float64),
            ": anchor_dtype='int16' saves memory for params of float32 or float64; "
            "write anchor_dtype=None.",
        )
        ws = jax.tree.leaves(params)
        code = jax.tree.map(lambda w: jnp.zeros(jnp.shape(w), jnp.int16), params)
        unit = jnp.full(len(ws), _UNTAKEN, jnp.float32)
        untaken = cls(code, unit, jnp.zeros([], jnp.int32))
        if any(isinstance(w, jax.ShapeDtypeStruct) for w in ws):
            return untaken
        return untaken.moved(list(map(jnp.asarray, ws)), None)

    def check(self, ws: list[jax.Array]) -> None:
        """Raise where this holds no anchor of ``ws``, the leaves of the params."""
        _tree_checks.check_held("code", self.code, ws, lambda k, _: k.dtype == "int16")
        if _tree_checks.is_stack(self.step):
            raise ValueError(
                "this is a stack of states, as jax.vmap(init) makes it, with an anchor "
                "of anchor_dtype='int16'; map over it: jax.vmap(anchor_distance)("
                "states, params), and likewise the other functions."
            )
        unit, wanted = _tree_checks.only_array(self.unit), f"float32[{len(ws)}]"
        if _tree_checks.in_words(unit) != wanted:
            raise ValueError(
                f"the state's unit is {_tree_checks.in_words(unit)} and must be "
                f"{wanted}, one for each parameter; {_tree_checks.RESTORE}."
            )
        if not isinstance(unit, jax.core.Tracer) and np.any(np.asarray(unit) <= 0):
            raise ValueError(
                f"the state's unit has the value {np.min(unit)} and must be positive; "
                f"{_tree_checks.RESTORE}."
            )

    def moved(self, ws: list[jax.Array], s: None) -> Self:
        """Return the state with the anchor at ``ws``, the leaves of the params."""
        del s
        # int16 is the least that a compiler may keep; -2**15 has no magnitude there.
        away = [jnp.maximum(k, 1 - 2**15) for k in self._away(ws)]
        unit = _fitting(self.unit * _largest(away), _largest(ws), self.unit)
        code = jax.tree.unflatten(jax.tree.structure(self.code), _places(ws, unit))
        return self._replace(code=code, unit=unit)

    def displacements(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``w - a`` of each leaf."""
        units, ks = jnp.unstack(self.unit), self._away(ws)
        return [u.astype(w.dtype) * k for w, u, k in zip(ws, units, ks, strict=True)]

    def measured(self, ws: list[jax.Array]) -> list[tuple[jax.Array, ...]]:
        """Return ``w, a, w - a`` of each leaf for their norms."""
        ds = self.displacements(ws)
        return list(zip(ws, map(jnp.subtract, ws, ds), ds, strict=True))

    def anchors(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``a`` of each leaf, in the dtype of ``w``."""
        return list(map(jnp.subtract, ws, self.displacements(ws)))

    def check_dtype(self, ws: list[jax.Array], anchor_dtype: Any) -> None:
        """Do nothing: `check` has judged the only dtype that codes have."""

    def check_settable(self) -> NoReturn:
        """Raise: the anchor is known only near the params."""
        raise ValueError(
            "an anchor of anchor_dtype='int16' cannot be set: it is known only near "
            "the params; build the optimizer with anchor_dtype=None, or name another "
            "anchor by name=."
        )

    def set_to(self, ws: list[jax.Array]) -> NoReturn:
        """Raise as `check_settable`."""
        self.check_settable()

    def _away(self, ws: list[jax.Array]) -> list[jax.Array]:
        """Return ``int16(n(w) - n(a))``: the difference wraps."""
        return list(
            map(jnp.subtract, _places(ws, self.unit), jax.tree.leaves(self.code))
        )


def _places(ws: list[jax.Array], unit: jax.Array) -> list[jax.Array]:
    """Return ``int16(n(w))``, in every program the same: over a power of two exact."""
    units = jnp.unstack(unit)
    ns = [jnp.round(w / u).astype(jnp.int32) for w, u in zip(ws, units, strict=True)]
    return [n.astype(jnp.int16) for n in ns]


def _largest(leaves: list[jax.Array]) -> jax.Array:
    """Return ``max |x|`` of each leaf."""
    return jnp.asarray([jnp.max(jnp.abs(x), initial=0) for x in leaves], jnp.float32)


def _fitting(far: jax.Array, size: jax.Array, unit: jax.Array) -> jax.Array:
    """Return the units for the next period."""
    least = jnp.maximum(_HEADROOM / _WINDOW * far, size / _PLACES)
    next_unit = jnp.maximum(_power_above(least), unit / 2)
    next_unit = jnp.where((far > 0) & jnp.isfinite(least), next_unit, unit)
    first_unit = _power_above(jnp.where(size > 0, size, 0.5)) / _WINDOW
    # Not taken yet: the mark of an abstract init, or NaN, which was its mark before.
    return jnp.where(unit < _UNTAKEN, next_unit, first_unit)


def _power_above(x: jax.Array) -> jax.Array:
    """Return the next power of two above ``x``, a normal number."""
    return jnp.ldexp(jnp.ones_like(x), jnp.frexp(x)[1])
