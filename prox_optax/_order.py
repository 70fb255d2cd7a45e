"""The order of a pull and its optimizer, which a chain cannot check."""

from typing import Any

import optax

_Transformation = optax.GradientTransformationExtraArgs


def ahead_of(before: Any, pull: _Transformation) -> _Transformation:
    """Put a pull before an optimizer, or leave it alone where that is None."""
    return pull if _is_none("before", before) else optax.chain(pull, before)


def following(behind: Any, pull: _Transformation) -> _Transformation:
    """Put a pull behind an optimizer, or leave it alone where that is None."""
    return pull if _is_none("behind", behind) else optax.chain(behind, pull)


def check_optimizer(name: str, value: Any, example: str) -> None:
    """Raise unless an argument is an optax transformation."""
    if not isinstance(value, optax.GradientTransformation):
        raise TypeError(
            f"{name} must be an optax transformation, got {value!r}; write for "
            f"example {name}={example}."
        )


def _is_none(name: str, value: Any) -> bool:
    if value is not None:
        check_optimizer(name, value, "optax.adam(1e-3)")
    return value is None
