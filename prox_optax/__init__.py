"""Training with an anchor: proximal (trust-region) transformations for optax."""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from prox_optax._alias import tradam, trsgd
from prox_optax._anchor import OuterState, ProximalState
from prox_optax._carry_over import carry_over
from prox_optax._compact import CompactState
from prox_optax._consolidate import consolidate
from prox_optax._decoupled_alias import tradamw, trsgdw
from prox_optax._distance import AnchorDistance, anchor_distance, pull_ratio
from prox_optax._fisher import fisher_diagonal, fisher_from_adam
from prox_optax._outer import outer
from prox_optax._proximal import decoupled_proximal, proximal
from prox_optax._schedule import inner_decay, rescale_b2
from prox_optax._states import get_anchor, set_anchor

try:
    __version__ = _version("prox_optax")
except _PackageNotFoundError:  # imported from a checkout that is not installed
    __version__ = "0+unknown"

__all__ = (
    "AnchorDistance",
    "CompactState",
    "OuterState",
    "ProximalState",
    "anchor_distance",
    "carry_over",
    "consolidate",
    "decoupled_proximal",
    "fisher_diagonal",
    "fisher_from_adam",
    "get_anchor",
    "inner_decay",
    "outer",
    "proximal",
    "pull_ratio",
    "rescale_b2",
    "set_anchor",
    "tradam",
    "tradamw",
    "trsgd",
    "trsgdw",
)
