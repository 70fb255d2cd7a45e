"""AdamW and Muon with slow weights, and what else averages the weights.

All of them tune `decay`, the weight decay in the step, which the learning rate
multiplies.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

import prox_optax
from benchmarks.optimizers.bases import decoupled_adam
from benchmarks.optimizers.method import Method, OptState, Params, Setup
from benchmarks.optimizers.peers import (
    muon_beside_adam,
    schedule_free_adam,
    schedule_free_average,
)

Make = Callable[[Setup], optax.GradientTransformation]


def decayed(make: Make) -> Make:
    """Give a maker of optimizers the weight decay that is a number of its own."""

    def make_decayed(setup: Setup) -> optax.GradientTransformation:
        decay: Any = setup.numbers["decay"]
        settings = replace(setup.settings, weight_decay=decay)
        return make(setup._replace(settings=settings))

    return make_decayed


def slow_weights(params: Params, state: OptState) -> Params:
    """Return the anchor."""
    return prox_optax.get_anchor(state, params)


def lookahead(make: Make) -> Make:
    """Put Lookahead behind an optimizer."""

    def make_slow(setup: Setup) -> optax.GradientTransformation:
        way_back = optax.sgd(setup.numbers["outer_rate"])
        slow = prox_optax.outer(way_back, whole(setup.numbers["period"]))
        return optax.chain(make(setup), slow)

    return make_slow


def snoo(make: Make) -> Make:
    """Put SNOO behind an optimizer; its rate outside is the published one, or tried."""

    def make_slow(setup: Setup) -> optax.GradientTransformation:
        rate: Any = setup.numbers.get("outer_rate", 0.7)
        nesterov = optax.sgd(rate, setup.numbers["momentum"], nesterov=True)
        slow = prox_optax.outer(nesterov, whole(setup.numbers["period"]))
        return optax.chain(make(setup), slow)

    return make_slow


def averaged(make: Make) -> Make:
    """Let an average of the weights follow an optimizer."""

    def make_averaged(setup: Setup) -> optax.GradientTransformation:
        step = setup.numbers["average_step"]
        average = prox_optax.proximal(0.0, period=1, anchor_step=step)
        return optax.chain(make(setup), average)

    return make_averaged


def whole(number: jax.Array) -> Any:
    """Return a number of steps, which comes as a float like all numbers."""
    return jnp.asarray(number, jnp.int32)


adamw: Make = decayed(lambda setup: decoupled_adam(setup, setup.rate()))
muon = decayed(muon_beside_adam)

DECAY = {"decay": (0.0, 0.1)}
LOOKAHEAD = {**DECAY, "outer_rate": (0.5,), "period": (10.0, 30.0)}
SNOO = {**DECAY, "momentum": (0.5,), "period": (30.0, 100.0)}
AVERAGE = {**DECAY, "average_step": (0.005, 0.02)}

OPTIMIZERS = {
    "adamw, decay tuned": Method(adamw, DECAY),
    "adamw, lookahead": Method(lookahead(adamw), LOOKAHEAD, evaluated=slow_weights),
    "adamw, snoo": Method(snoo(adamw), SNOO, evaluated=slow_weights),
    "adamw, weight average": Method(averaged(adamw), AVERAGE, evaluated=slow_weights),
    "schedule-free adamw, decay tuned": Method(
        decayed(schedule_free_adam), DECAY, evaluated=schedule_free_average
    ),
    "muon, decay tuned": Method(muon, DECAY),
    "muon, lookahead": Method(lookahead(muon), LOOKAHEAD, evaluated=slow_weights),
    "muon, snoo": Method(snoo(muon), SNOO, evaluated=slow_weights),
}
