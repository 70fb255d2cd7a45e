"""What users pass and get back, as type checkers see it.

The aliases name no type of optax: it has no py.typed, so that mypy may read its types
as Any, and with them a union that holds one. They have no forward references, which
checkers at run time cannot resolve.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike

if TYPE_CHECKING:  # type checkers bring typing_extensions with them
    import optax
    from typing_extensions import TypeVar

    Params = TypeVar("Params", default=optax.Params)
else:
    from typing import TypeVar

    Params = TypeVar("Params")
OptState = TypeVar("OptState")


@runtime_checkable
class Record(Protocol):
    """Stand for dataclasses, such as the modules of Equinox."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Period: TypeAlias = int | np.integer[Any] | np.ndarray | jax.Array
Schedule: TypeAlias = Callable[[ArrayLike], ArrayLike]
Rate: TypeAlias = float | jax.Array | Schedule
Tree: TypeAlias = Mapping[Any, Any] | list[Any] | tuple[Any, ...] | Record
"""No Iterable, as in optax.Params: a text is one."""
Weights: TypeAlias = ArrayLike | Schedule | Tree
