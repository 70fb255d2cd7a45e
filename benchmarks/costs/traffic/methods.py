"""The updates that are compared: momentum 0.9, a period of 10, default pulls."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import optax
from optax import contrib

import prox_optax

RATE, MOMENTUM, PERIOD, DECAY = 1e-3, 0.9, 10, 0.99


class Method(NamedTuple):
    """An update.

    Attributes:
      base: the bare optimizer under it, which sets its budget.
      kind: bare, ours (anchored) or peer (to compare with, without a budget).
      make: the transformation.
      start: what it updates, from the parameters.
      int16: whether its anchor has 16 bits a parameter.
    """

    base: Literal["sgd", "adam"]
    kind: Literal["bare", "ours", "peer"]
    make: Callable[[], optax.GradientTransformation]
    start: Callable[[Any], Any] = lambda params: params
    int16: bool = False


def sgd() -> optax.GradientTransformation:
    return optax.sgd(RATE, MOMENTUM)


def adam() -> optax.GradientTransformation:
    return optax.adam(RATE)


def averaged(
    base: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """``base``, and in the state an exponential average of the weights it makes."""
    average = optax.ema(DECAY, debias=False)

    def init_fn(params: optax.Params) -> Any:
        return base.init(params), average.init(params)

    def update_fn(
        updates: optax.Updates,
        state: Any,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        del extra_args
        updates, base_state = base.update(updates, state[0], params)
        new_params = optax.apply_updates(params, updates)
        _, average_state = average.update(new_params, state[1])
        return updates, (base_state, average_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def proximal() -> optax.GradientTransformation:
    return prox_optax.proximal(period=PERIOD)


def compact() -> optax.GradientTransformation:
    return prox_optax.proximal(period=PERIOD, anchor_dtype="int16")


def decoupled_proximal() -> optax.GradientTransformation:
    return prox_optax.decoupled_proximal(period=PERIOD)


METHODS: dict[str, Method] = {
    "sgd": Method("sgd", "bare", sgd),
    "proximal, sgd": Method("sgd", "ours", lambda: optax.chain(proximal(), sgd())),
    "proximal int16, sgd": Method(
        "sgd", "ours", lambda: optax.chain(compact(), sgd()), int16=True
    ),
    "sgd, decoupled_proximal": Method(
        "sgd", "ours", lambda: optax.chain(sgd(), decoupled_proximal())
    ),
    "trsgd": Method(
        "sgd", "ours", lambda: prox_optax.trsgd(RATE, MOMENTUM, period=PERIOD)
    ),
    "trsgdw": Method(
        "sgd", "ours", lambda: prox_optax.trsgdw(RATE, MOMENTUM, period=PERIOD)
    ),
    "lookahead, sgd": Method(
        "sgd",
        "peer",
        lambda: optax.lookahead(sgd(), PERIOD, 0.5),
        optax.LookaheadParams.init_synced,
    ),
    "schedule_free, sgd": Method(
        "sgd", "peer", lambda: contrib.schedule_free_sgd(RATE, b1=MOMENTUM)
    ),
    "ema of weights, sgd": Method("sgd", "peer", lambda: averaged(sgd())),
    "adam": Method("adam", "bare", adam),
    "proximal, adam": Method("adam", "ours", lambda: optax.chain(proximal(), adam())),
    "proximal int16, adam": Method(
        "adam", "ours", lambda: optax.chain(compact(), adam()), int16=True
    ),
    "adam, decoupled_proximal": Method(
        "adam", "ours", lambda: optax.chain(adam(), decoupled_proximal())
    ),
    "tradam": Method("adam", "ours", lambda: prox_optax.tradam(RATE, period=PERIOD)),
    "tradamw": Method("adam", "ours", lambda: prox_optax.tradamw(RATE, period=PERIOD)),
    "lookahead, adam": Method(
        "adam",
        "peer",
        lambda: optax.lookahead(adam(), PERIOD, 0.5),
        optax.LookaheadParams.init_synced,
    ),
    "schedule_free, adam": Method(
        "adam", "peer", lambda: contrib.schedule_free_adamw(RATE, b1=MOMENTUM)
    ),
    "ema of weights, adam": Method("adam", "peer", lambda: averaged(adam())),
}
