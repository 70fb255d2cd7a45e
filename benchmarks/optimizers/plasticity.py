"""Adam with what may keep a network able to learn, for many tasks in series.

`strength` is that of a penalty strength * (w - a)^2 in the loss, where a is 0 or the
initial parameters. Decoupled it is in the step instead, times the learning rate.
"""

from typing import Any

import jax
import optax

import prox_optax
from benchmarks import models
from benchmarks.optimizers.bases import l2_adam
from benchmarks.optimizers.method import Method, Setup


def l2_coupled(setup: Setup) -> optax.GradientTransformation:
    """Return Adam behind the gradient of L2 regularization."""
    decay = optax.add_decayed_weights(2 * setup.numbers["strength"])
    return optax.chain(decay, l2_adam(setup, setup.rate()))


def l2_decoupled(setup: Setup) -> optax.GradientTransformation:
    """Return AdamW."""
    s = setup.settings
    decay: Any = 2 * setup.numbers["strength"]
    return optax.adamw(setup.rate(), s.b1, s.b2, weight_decay=decay)


def l2_init_coupled(setup: Setup) -> optax.GradientTransformation:
    """Return Adam behind L2 Init as published, arXiv 2308.11958."""
    pull = prox_optax.proximal(setup.numbers["strength"], period=None)
    return optax.chain(pull, l2_adam(setup, setup.rate()))


def l2_init_decoupled(setup: Setup) -> optax.GradientTransformation:
    """Return Adam with L2 Init in its step."""
    rate, strength = setup.rate(), setup.numbers["strength"]
    pull = prox_optax.decoupled_proximal(strength, period=None, learning_rate=rate)
    return optax.chain(l2_adam(setup, rate), pull)


def shrunk_and_perturbed(
    shrink: Any, noise: Any
) -> optax.GradientTransformationExtraArgs:
    """Shrink the parameters after a step, and add Gaussian noise to them.

    With an update u it is w <- (1 - shrink) (w + u) + noise * N(0, 1), at every step as
    in arXiv 2308.11958. Ash and Adams, https://arxiv.org/abs/1910.08475, do it once
    before new data. The noise is that of the step's `key`.
    """

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        drawn = optax.tree.random_like(extra["key"], updates)
        updates = jax.tree.map(
            lambda u, w, z: u - shrink * (w + u) + noise * z, updates, params, drawn
        )
        return updates, state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def shrink_and_perturb(setup: Setup) -> optax.GradientTransformation:
    """Return Adam with shrink-and-perturb after its step."""
    numbers = setup.numbers
    after = shrunk_and_perturbed(numbers["shrink"], numbers["perturb"])
    return optax.chain(l2_adam(setup, setup.rate()), after)


COUPLED = {"strength": (0.003, 0.006, 0.012, 0.024)}

OPTIMIZERS = {
    "adam, l2 to 0, coupled": Method(l2_coupled, COUPLED),
    "adam, l2 to 0, decoupled": Method(
        l2_decoupled, {"strength": (0.1, 0.2, 0.4, 0.8)}
    ),
    "adam, l2 init, coupled": Method(l2_init_coupled, COUPLED),
    "adam, l2 init, decoupled": Method(
        l2_init_decoupled, {"strength": (0.15, 0.3, 0.6, 1.2)}
    ),
    "adam, shrink and perturb": Method(
        shrink_and_perturb,
        {"shrink": (0.0015, 0.004, 0.01), "perturb": (0.002, 0.005, 0.0125)},
    ),
    "adam, layer norm": Method(
        lambda setup: l2_adam(setup, setup.rate()), start=models.with_layer_norm
    ),
}
