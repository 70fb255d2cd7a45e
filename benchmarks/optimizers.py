"""The optimizers under test, each from a learning-rate schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import optax

import prox_optax


@dataclass(frozen=True)
class Settings:
    """The numbers every optimizer of an experiment shares.

    Attributes:
      momentum: of all of them.
      weight_decay: of all of them; decoupled in `trsgdw`, else added to the gradient.
      period: steps between two anchors, and of the inner decay.
    """

    momentum: float
    weight_decay: float
    period: int


Factory = Callable[[optax.Schedule, Settings], optax.GradientTransformation]


def sgd(schedule: optax.Schedule, s: Settings) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(s.weight_decay),
        optax.sgd(schedule, s.momentum),
    )


def trsgd(schedule: optax.Schedule, s: Settings) -> optax.GradientTransformation:
    return prox_optax.trsgd(
        schedule, s.momentum, period=s.period, weight_decay=s.weight_decay
    )


def trsgdw(schedule: optax.Schedule, s: Settings) -> optax.GradientTransformation:
    return prox_optax.trsgdw(
        schedule, s.momentum, period=s.period, weight_decay=s.weight_decay
    )


def inner_decay_alone(
    schedule: optax.Schedule, s: Settings
) -> optax.GradientTransformation:
    return sgd(prox_optax.inner_decay(schedule, s.period), s)


def sgd_scaled(
    factor: float, schedule: optax.Schedule, s: Settings
) -> optax.GradientTransformation:
    return sgd(lambda step: factor * schedule(step), s)


OPTIMIZERS: dict[str, Factory] = {
    "sgd": sgd,
    "trsgd": trsgd,
    "trsgdw": trsgdw,
    "inner decay alone": inner_decay_alone,
    # the mean of the inner decay over a period of 10
    "sgd at 0.293 x": partial(sgd_scaled, 0.293),
}
