"""TRSGD, TRAdam and TRAdamW with their parts exchanged one by one.

They are for experiments with `strengths`: they read the number `strength`, which is
lambda at the first learning rate. The period is 10 and the anchor step 1 unless the
name says otherwise.
"""

from typing import Literal

import optax

import prox_optax
from benchmarks.optimizers.bases import Base, decoupled_adam, l2_adam, l2_sgd
from benchmarks.optimizers.method import Method, Setup

Form = Literal["coupled", "decoupled"]
FORMS: tuple[Form, ...] = ("coupled", "decoupled")


def ablated(
    form: Form,
    base: Base = l2_sgd,
    *,
    inner: bool = True,
    period: int = 10,
    anchor_step: float = 1.0,
) -> Method:
    """Return a pull in one of its forms with a bare optimizer.

    Both forms have lambda_w = strength * first learning rate.

    Args:
      form: coupled, before the optimizer, or decoupled, behind it.
      base: the bare optimizer.
      inner: whether the learning rate decays in every period, and with it the
        decoupled pull.
      period: steps between two anchors.
      anchor_step: the part of the way to the parameters that the anchor goes.
    """

    def decayed(rate: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
        return prox_optax.inner_decay(rate, period) if inner else rate

    def coupled(setup: Setup) -> optax.GradientTransformation:
        pull = prox_optax.proximal(
            lambda step: setup.numbers["strength"] / setup.decay(step),
            period,
            anchor_step=anchor_step,
        )
        return optax.chain(pull, base(setup, decayed(setup.rate())))

    def decoupled(setup: Setup) -> optax.GradientTransformation:
        lambda_w = setup.numbers["strength"] * setup.numbers["learning_rate"]
        pull = prox_optax.decoupled_proximal(
            decayed(lambda_w), period, anchor_step=anchor_step
        )
        return optax.chain(base(setup, decayed(setup.rate())), pull)

    return Method(coupled if form == "coupled" else decoupled)


FORM_AND_INNER_DECAY = {
    "coupled, inner decay": ablated("coupled"),
    "decoupled, inner decay": ablated("decoupled"),
    "coupled, no inner decay": ablated("coupled", inner=False),
    "decoupled, no inner decay": ablated("decoupled", inner=False),
}
PERIODS = (2, 5, 20, 50)
COUPLED_PERIODS = {f"coupled, S = {n}": ablated("coupled", period=n) for n in PERIODS}
DECOUPLED_PERIODS = {
    f"decoupled, S = {n}": ablated("decoupled", period=n) for n in PERIODS
}
ANCHOR_STEPS = {
    f"{form}, anchor step {x}": ablated(form, anchor_step=x)
    for form in FORMS
    for x in (0.5, 0.1)
}
OF_ADAM = {
    "adam, coupled, no inner decay": ablated("coupled", l2_adam, inner=False),
    "adam, decoupled, no inner decay": ablated(
        "decoupled", decoupled_adam, inner=False
    ),
    "adam, coupled, inner decay": ablated("coupled", l2_adam),
    "adam, decoupled, inner decay": ablated("decoupled", decoupled_adam),
}
OF_SGD = FORM_AND_INNER_DECAY | COUPLED_PERIODS | DECOUPLED_PERIODS | ANCHOR_STEPS
OPTIMIZERS = OF_SGD | OF_ADAM
