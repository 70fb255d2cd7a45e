"""The order of a pull and its optimizer, which a chain cannot check."""

from typing import Any

import optax

_Transformation = optax.GradientTransformationExtraArgs
_EXAMPLE = "optax.adam(1e-3)"


def ahead_of(before: Any, pull: _Transformation) -> _Transformation:
    """Put a pull before an optimizer, or leave it alone where that is None."""
    if before is None:
        return pull
    check_optimizer("before", before, _EXAMPLE)
    return optax.chain(pull, before)


def following(behind: Any, pull: _Transformation) -> _Transformation:
    """Put a pull behind an optimizer, or leave it alone where that is None."""
    if behind is None:
        return pull
    check_optimizer("behind", behind, _EXAMPLE)
    return optax.chain(behind, pull)


def check_optimizer(name: str, value: Any, example: str) -> None:
    """Raise unless an argument is an optax transformation."""
    if not isinstance(value, optax.GradientTransformation):
        raise TypeError(
            f"{name} must be an optax transformation, got {value!r}; write for "
            f"example {name}={example}."
        )
