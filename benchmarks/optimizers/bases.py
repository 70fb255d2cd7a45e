"""SGD and Adam, bare: what the other optimizers are built on."""

from collections.abc import Callable

import optax

from benchmarks.optimizers.method import Method, Setup

Base = Callable[[Setup, optax.ScalarOrSchedule], optax.GradientTransformation]
"""A bare optimizer from the setup and the learning rate, which may be another one."""


def l2_sgd(setup: Setup, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Return SGD with momentum; the weight decay is added to the gradient."""
    return optax.chain(
        optax.add_decayed_weights(setup.settings.weight_decay),
        optax.sgd(rate, setup.settings.momentum),
    )


def l2_adam(setup: Setup, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Return Adam; the weight decay is added to the gradient."""
    s = setup.settings
    return optax.chain(
        optax.add_decayed_weights(s.weight_decay), optax.adam(rate, s.b1, s.b2)
    )


def decoupled_adam(
    setup: Setup, rate: optax.ScalarOrSchedule
) -> optax.GradientTransformation:
    """Return AdamW."""
    s = setup.settings
    return optax.adamw(rate, s.b1, s.b2, weight_decay=s.weight_decay)


def at_rate(base: Base, factor: float = 1.0) -> Method:
    """Return a bare optimizer whose learning rate is multiplied by a factor."""
    return Method(lambda setup: base(setup, setup.rate(factor)))


OPTIMIZERS = {
    "sgd": at_rate(l2_sgd),
    "adam": at_rate(l2_adam),
    "adamw": at_rate(decoupled_adam),
}
