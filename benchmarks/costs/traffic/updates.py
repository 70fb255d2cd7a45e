"""The updates that are counted: momentum 0.9, a period of 10, default pulls.

They are no rows of `benchmarks.optimizers`: the learning rate of those is a schedule,
whose counter would be in the compiled programs too.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import optax
from optax import contrib

import prox_optax

RATE, MOMENTUM, PERIOD, DECAY, OUTER_RATE = 1e-3, 0.9, 10, 0.99, 0.7

Base = Literal["sgd", "adam"]
Anchor = Literal["whole", "int16", "outer"]
Make = Callable[[], optax.GradientTransformation]


class Update(NamedTuple):
    """An update that is counted.

    Attributes:
      base: the bare optimizer under it, which sets its budget.
      kind: bare, ours (anchored) or peer (to compare with, without a budget).
      make: the transformation.
      start: what it updates, from the parameters.
      anchor: how its anchor is kept, whole or in 16 bits a parameter, or that an outer
        optimizer moves it.
    """

    base: Base
    kind: Literal["bare", "ours", "peer"]
    make: Make
    start: Callable[[Any], Any] = lambda params: params
    anchor: Anchor = "whole"


def sgd() -> optax.GradientTransformation:
    """Return SGD with momentum."""
    return optax.sgd(RATE, MOMENTUM)


def adam() -> optax.GradientTransformation:
    """Return Adam."""
    return optax.adam(RATE)


def averaged(bare: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return ``bare`` with an exponential average of its parameters in the state."""
    average = optax.ema(DECAY, debias=False)

    def init_fn(params: optax.Params) -> Any:
        return bare.init(params), average.init(params)

    def update_fn(
        updates: optax.Updates, state: Any, params: Any = None
    ) -> tuple[optax.Updates, Any]:
        updates, bare_state = bare.update(updates, state[0], params)
        new_params = optax.apply_updates(params, updates)
        _, average_state = average.update(new_params, state[1])
        return updates, (bare_state, average_state)

    return optax.GradientTransformation(init_fn, update_fn)


def over(
    base: Base, bare: Make, aliases: dict[str, Make], schedule_free: Make
) -> dict[str, Update]:
    """Return a bare optimizer, our updates over it and its peers, in the table's order.

    Args:
      base: the bare optimizer's name.
      bare: makes it.
      aliases: make our updates that have a name of their own.
      schedule_free: makes Schedule-Free over it.
    """

    def pull(**dtype: Any) -> optax.GradientTransformation:
        return optax.chain(prox_optax.proximal(period=PERIOD, **dtype), bare())

    def decoupled() -> optax.GradientTransformation:
        return optax.chain(bare(), prox_optax.decoupled_proximal(period=PERIOD))

    def int16() -> optax.GradientTransformation:
        return pull(anchor_dtype="int16")

    def outer() -> optax.GradientTransformation:
        outside = optax.sgd(OUTER_RATE, MOMENTUM, nesterov=True)
        return optax.chain(bare(), prox_optax.outer(outside, PERIOD))

    def lookahead() -> optax.GradientTransformation:
        return optax.lookahead(bare(), PERIOD, 0.5)

    both = optax.LookaheadParams.init_synced
    return {
        base: Update(base, "bare", bare),
        f"proximal, {base}": Update(base, "ours", pull),
        f"proximal int16, {base}": Update(base, "ours", int16, anchor="int16"),
        f"{base}, decoupled_proximal": Update(base, "ours", decoupled),
        f"{base}, outer": Update(base, "ours", outer, anchor="outer"),
        **{name: Update(base, "ours", make) for name, make in aliases.items()},
        f"lookahead, {base}": Update(base, "peer", lookahead, both),
        f"schedule_free, {base}": Update(base, "peer", schedule_free),
        f"ema of weights, {base}": Update(base, "peer", lambda: averaged(bare())),
    }


COUNTED = over(
    "sgd",
    sgd,
    {
        "trsgd": lambda: prox_optax.trsgd(RATE, MOMENTUM, period=PERIOD),
        "trsgdw": lambda: prox_optax.trsgdw(RATE, MOMENTUM, period=PERIOD),
    },
    lambda: contrib.schedule_free_sgd(RATE, b1=MOMENTUM),
) | over(
    "adam",
    adam,
    {
        "tradam": lambda: prox_optax.tradam(RATE, period=PERIOD),
        "tradamw": lambda: prox_optax.tradamw(RATE, period=PERIOD),
    },
    lambda: contrib.schedule_free_adamw(RATE, b1=MOMENTUM),
)
