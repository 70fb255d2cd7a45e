"""Our optimizers, and controls that have one of their parts."""

from collections.abc import Callable
from functools import partial

import optax

import prox_optax
from benchmarks.optimizers.bases import Base, at_rate, l2_adam, l2_sgd
from benchmarks.optimizers.method import Method, Setup

Alias = Callable[..., optax.GradientTransformation]


def sgd_form(alias: Alias, setup: Setup) -> optax.GradientTransformation:
    """Return an optimizer of `prox_optax` that takes a momentum."""
    s, rate = setup.settings, setup.rate()
    return alias(rate, s.momentum, period=s.period, weight_decay=s.weight_decay)


def adam_form(alias: Alias, setup: Setup) -> optax.GradientTransformation:
    """Return an optimizer of `prox_optax` that takes b1 and b2."""
    s, rate = setup.settings, setup.rate()
    return alias(rate, s.b1, s.b2, period=s.period, weight_decay=s.weight_decay)


def inner_decay_alone(base: Base, setup: Setup) -> optax.GradientTransformation:
    """Return a bare optimizer whose learning rate decays in every period."""
    return base(setup, prox_optax.inner_decay(setup.rate(), setup.settings.period))


def anchor_alone(base: Base, setup: Setup) -> optax.GradientTransformation:
    """Return a bare optimizer behind the published pull, without the inner decay.

    The pull's strength is 0.1 * first learning rate / learning rate.
    """
    pull = prox_optax.proximal(lambda t: 0.1 / setup.decay(t), setup.settings.period)
    return optax.chain(pull, base(setup, setup.rate()))


OPTIMIZERS = {
    "trsgd": Method(partial(sgd_form, prox_optax.trsgd)),
    "trsgdw": Method(partial(sgd_form, prox_optax.trsgdw)),
    "tradam": Method(partial(adam_form, prox_optax.tradam)),
    "tradamw": Method(partial(adam_form, prox_optax.tradamw)),
    # 0.293 is the mean of the inner decay over a period of 10; with momentum 0.9 a pull
    # of lambda_w = 0.01 takes another factor of 0.724.
    "sgd at 0.293 x": at_rate(l2_sgd, 0.293),
    "sgd at 0.212 x": at_rate(l2_sgd, 0.212),
    "adam at 0.293 x": at_rate(l2_adam, 0.293),
    "inner decay alone": Method(partial(inner_decay_alone, l2_sgd)),
    "adam, inner decay alone": Method(partial(inner_decay_alone, l2_adam)),
    "anchor alone": Method(partial(anchor_alone, l2_sgd)),
    "adam, anchor alone": Method(partial(anchor_alone, l2_adam)),
}
