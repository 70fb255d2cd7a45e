"""The optimizers of others, which ours are compared with."""

from dataclasses import replace
from typing import Any

import jax
import optax
from optax import contrib

import prox_optax
from benchmarks.optimizers.bases import Base, l2_adam, l2_sgd
from benchmarks.optimizers.method import Method, OptState, Params, Setup


def b2_rescaled(setup: Setup) -> optax.GradientTransformation:
    """Return Adam whose b2 has the half-life in examples of `b2` at `b2_batch`."""
    s = setup.settings
    b2: Any = prox_optax.rescale_b2(s.b2, setup.batch_size, s.b2_batch)
    return l2_adam(setup._replace(settings=replace(s, b2=b2)), setup.rate())


def accumulated(
    base: Base, setup: Setup, gradients: int
) -> optax.GradientTransformation:
    """Return a bare optimizer that updates from the mean of so many gradients."""
    inner = base(setup, lambda step: setup.rate()(gradients * step))
    return optax.MultiSteps(inner, gradients).gradient_transformation()


def clipping(setup: Setup) -> optax.GradientTransformation:
    """Return SGD behind clipping of the gradient's norm at a threshold."""
    clip = optax.clip_by_global_norm(setup.numbers["threshold"])
    return optax.chain(clip, l2_sgd(setup, setup.rate()))


def sam(setup: Setup) -> optax.GradientTransformation:
    """Return SAM on SGD with a radius of 0.05.

    It takes two gradients an update, so two steps of the loop. Each gradient is of a
    batch of its own.
    """
    ascent = optax.chain(optax.normalize_by_update_norm(eps=1e-12), optax.sgd(0.05))
    both = contrib.sam(l2_sgd(setup, lambda step: setup.rate()(2 * step)), ascent)
    return optax.GradientTransformation(*both)  # optax's refuses the key of a step


def sam_evaluated(params: Params, state: OptState) -> Params:
    """Return the parameters without the step of an ascent that is under way."""
    return optax.tree.where(state.steps_since_sync == 0, params, state.cache)


def schedule_free_sgd(setup: Setup) -> optax.GradientTransformation:
    """Return Schedule-Free SGD as published: the learning rate is constant.

    It has no momentum but that of the averaging.
    """
    s = setup.settings
    return contrib.schedule_free_sgd(
        setup.numbers["learning_rate"], b1=s.b1, weight_decay=s.weight_decay
    )


def schedule_free_adam(setup: Setup) -> optax.GradientTransformation:
    """Return Schedule-Free AdamW, as published for language models."""
    s = setup.settings
    return contrib.schedule_free_adamw(
        setup.numbers["learning_rate"], b1=s.b1, b2=s.b2, weight_decay=s.weight_decay
    )


def schedule_free_average(params: Params, state: OptState) -> Params:
    """Return the average that Schedule-Free evaluates."""
    return contrib.schedule_free_eval_params(state, params)


def averaged(base: Base) -> Method:
    """Return a bare optimizer that is evaluated at an average of its parameters.

    The average is an anchor that only follows, over about 800 examples.
    """

    def make(setup: Setup) -> optax.GradientTransformation:
        step = 1 - prox_optax.rescale_b2(0.99, setup.batch_size, 8)
        average = prox_optax.proximal(0.0, period=1, anchor_step=step)
        return optax.chain(base(setup, setup.rate()), average)

    return Method(
        make, evaluated=lambda params, state: prox_optax.get_anchor(state, params)
    )


def muon(setup: Setup) -> optax.GradientTransformation:
    """Return Muon on matrices, beside Adam on the rest, as optax has it."""
    s = setup.settings
    return contrib.muon(setup.rate(), beta=s.b1, weight_decay=s.weight_decay)


def muon_beside_adam(setup: Setup) -> optax.GradientTransformation:
    """Return Muon on matrices; Adam's steps on embeddings and vectors are as large."""

    def matrices(params: Params) -> Any:
        def dimensions(path: Any, leaf: jax.Array) -> Any:
            embeds = "embedding" in jax.tree_util.keystr(path)
            return None if embeds or leaf.ndim != 2 else contrib.MuonDimensionNumbers()

        return jax.tree_util.tree_map_with_path(dimensions, params)

    s = setup.settings
    return contrib.muon(
        setup.rate(),
        beta=s.b1,
        weight_decay=s.weight_decay,
        adam_b1=s.b1,
        adam_b2=s.b2,
        adam_weight_decay=s.weight_decay,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2,
    )


OPTIMIZERS = {
    "lookahead": Method(
        lambda setup: optax.lookahead(l2_sgd(setup, setup.rate()), 5, 0.5),
        start=optax.LookaheadParams.init_synced,
        gradient_at=lambda params: params.fast,
        evaluated=lambda params, state: params.slow,
    ),
    "weight average": averaged(l2_sgd),
    "adam, weight average": averaged(l2_adam),
    "schedule-free": Method(schedule_free_sgd, evaluated=schedule_free_average),
    "schedule-free adam": Method(schedule_free_adam, evaluated=schedule_free_average),
    "sam": Method(sam, evaluated=sam_evaluated),
    "clipping": Method(clipping, numbers={"threshold": (0.5, 2.0)}),
    "accumulation": Method(lambda setup: accumulated(l2_sgd, setup, 4)),
    "adam, accumulated to 16": Method(
        lambda setup: accumulated(l2_adam, setup, max(1, 16 // setup.batch_size))
    ),
    "adam, b2 rescaled": Method(b2_rescaled),
    "muon": Method(muon),
    "muon beside adam": Method(muon_beside_adam),
}
