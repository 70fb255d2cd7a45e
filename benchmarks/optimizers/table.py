"""The optimizers under test, each from a trial's numbers and a decay of its rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import optax
from jax.typing import ArrayLike
from optax import contrib

import prox_optax

Params = Any
OptState = Any
Trial = Mapping[str, jax.Array]  # numbers by name, `learning_rate` always; traced


@dataclass(frozen=True)
class Settings:
    """The numbers every optimizer of an experiment shares.

    Attributes:
      momentum: of the SGD family.
      weight_decay: decoupled where the method is (adamw, trsgdw, tradamw, muon), else
        added to the gradient.
      period: steps between two anchors, and of the inner decay.
      b1: of the Adam family, Muon and Schedule-Free.
      b2: of the Adam family.
      b2_batch: the batch size whose half-life in examples a rescaled b2 holds.
    """

    momentum: float
    weight_decay: float
    period: int
    b1: float = 0.9
    b2: float = 0.999
    b2_batch: int = 128


Make = Callable[[Trial, optax.Schedule, Settings, int], optax.GradientTransformation]
"""From a trial, its rate's factor at a step, the settings and the batch size."""


Form = Literal["coupled", "decoupled"]
FORMS: tuple[Form, ...] = ("coupled", "decoupled")


class Method(NamedTuple):
    """An optimizer under test, as the training loop runs it.

    Attributes:
      make: the transformation: a `Make`; for the loop, of the trial alone.
      start: what the loop updates, from the network's parameters.
      gradient_at: from that, the parameters at which the gradient is taken.
      evaluated: from that and the optimizer's state, the parameters to evaluate.
    """

    make: Callable[..., optax.GradientTransformation]
    start: Callable[[Params], Params] = lambda params: params
    gradient_at: Callable[[Params], Params] = lambda params: params
    evaluated: Callable[[Params, OptState], Params] = lambda params, state: params


def rate(t: Trial, decay: optax.Schedule, factor: float = 1.0) -> optax.Schedule:
    return lambda step: factor * (t["learning_rate"] * decay(step))


def l2_sgd(
    schedule: optax.ScalarOrSchedule, s: Settings
) -> optax.GradientTransformationExtraArgs:
    return optax.chain(
        optax.add_decayed_weights(s.weight_decay), optax.sgd(schedule, s.momentum)
    )


def l2_adam(
    schedule: optax.ScalarOrSchedule, s: Settings, b2: ArrayLike | None = None
) -> optax.GradientTransformationExtraArgs:
    adam = optax.adam(schedule, b1=s.b1, b2=s.b2 if b2 is None else b2)
    return optax.chain(optax.add_decayed_weights(s.weight_decay), adam)


def decoupled_adam(
    schedule: optax.ScalarOrSchedule, s: Settings
) -> optax.GradientTransformationExtraArgs:
    return optax.adamw(schedule, s.b1, s.b2, weight_decay=s.weight_decay)


def sgd_family(
    alias: Callable[..., optax.GradientTransformationExtraArgs],
) -> Make:
    def make(
        t: Trial, d: optax.Schedule, s: Settings, batch: int
    ) -> optax.GradientTransformation:
        return alias(
            rate(t, d), s.momentum, period=s.period, weight_decay=s.weight_decay
        )

    return make


def adam_family(
    alias: Callable[..., optax.GradientTransformationExtraArgs],
) -> Make:
    def make(
        t: Trial, d: optax.Schedule, s: Settings, batch: int
    ) -> optax.GradientTransformation:
        return alias(
            rate(t, d), s.b1, s.b2, period=s.period, weight_decay=s.weight_decay
        )

    return make


def anchor(decay: optax.Schedule, s: Settings) -> optax.GradientTransformation:
    """The published pull: strength = 0.1 * (first learning rate) / learning rate."""
    return prox_optax.proximal(lambda step: 0.1 / decay(step), s.period)


def schedule_free(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """As published: a constant learning rate, no momentum below the averaging."""
    return contrib.schedule_free_sgd(
        t["learning_rate"], b1=s.b1, weight_decay=s.weight_decay
    )


def schedule_free_adam(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """The same on Adam, as published for language models."""
    return contrib.schedule_free_adamw(
        t["learning_rate"], b1=s.b1, b2=s.b2, weight_decay=s.weight_decay
    )


def schedule_free_average(params: Params, state: OptState) -> Params:
    return contrib.schedule_free_eval_params(state, params)


def sam(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """Two gradients, so two steps of the loop, an update; radius 0.05.

    Each gradient is of a batch of its own.
    """
    ascent = optax.chain(optax.normalize_by_update_norm(eps=1e-12), optax.sgd(0.05))
    return contrib.sam(l2_sgd(rate(t, lambda step: d(2 * step)), s), ascent)


def accumulation(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """An update from the mean of 4 gradients: as many examples, fewer updates."""
    inner = l2_sgd(rate(t, lambda step: d(4 * step)), s)
    return optax.MultiSteps(inner, every_k_schedule=4).gradient_transformation()


def adam_accumulated(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """Adam's update from the mean of as many gradients as make a batch of 16."""
    k = max(1, 16 // batch)
    inner = l2_adam(rate(t, lambda step: d(k * step)), s)
    return optax.MultiSteps(inner, every_k_schedule=k).gradient_transformation()


def averaged(
    base: Callable[..., optax.GradientTransformationExtraArgs],
) -> Method:
    """Beside an anchor that only follows: an average over about 800 examples."""

    def make(
        t: Trial, d: optax.Schedule, s: Settings, batch: int
    ) -> optax.GradientTransformation:
        step = 1 - prox_optax.rescale_b2(0.99, batch, 8)
        average = prox_optax.proximal(0.0, period=1, anchor_step=step)
        return optax.chain(base(rate(t, d), s), average)

    return Method(
        make, evaluated=lambda params, state: prox_optax.get_anchor(state, params)
    )


def adam_rescaled(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """Adam whose b2 has the half-life in examples of `s.b2` at `s.b2_batch`."""
    b2 = prox_optax.rescale_b2(s.b2, batch, s.b2_batch)
    return l2_adam(rate(t, d), s, b2)


def muon_beside_adam(
    t: Trial, d: optax.Schedule, s: Settings, batch: int
) -> optax.GradientTransformation:
    """Muon on matrices; on embeddings and vectors Adam, whose steps are as large."""

    def matrices(params: Params) -> Any:
        def dimensions(path: Any, x: jax.Array) -> Any:
            embeds = "embedding" in jax.tree_util.keystr(path)
            return None if embeds or x.ndim != 2 else contrib.MuonDimensionNumbers()

        return jax.tree_util.tree_map_with_path(dimensions, params)

    return contrib.muon(
        rate(t, d),
        beta=s.b1,
        weight_decay=s.weight_decay,
        adam_b1=s.b1,
        adam_b2=s.b2,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2,
    )


def ablated(
    form: Form,
    base: Callable[..., optax.GradientTransformationExtraArgs] = l2_sgd,
    *,
    inner: bool = True,
    period: int = 10,
    anchor_step: float = 1.0,
) -> Make:
    """Exchange the parts of TRSGD one by one; the trial gives the strength.

    The strength is lambda at the first learning rate, so that lambda_w = strength * the
    first learning rate in both forms.
    """

    def make(
        t: Trial, d: optax.Schedule, s: Settings, batch: int
    ) -> optax.GradientTransformation:
        schedule = rate(t, d)
        optimizer = base(
            prox_optax.inner_decay(schedule, period) if inner else schedule, s
        )
        if form == "coupled":
            pull = prox_optax.proximal(
                lambda step: t["strength"] / d(step), period, anchor_step=anchor_step
            )
            return optax.chain(pull, optimizer)
        lambda_w = t["strength"] * t["learning_rate"]
        pull = prox_optax.decoupled_proximal(
            prox_optax.inner_decay(lambda_w, period) if inner else lambda_w,
            period,
            anchor_step=anchor_step,
        )
        return optax.chain(optimizer, pull)

    return make


PERIODS = (2, 5, 20, 50)
ANCHOR_STEPS = (0.5, 0.1)

ABLATIONS: dict[str, Method] = {
    "coupled, inner decay": Method(ablated("coupled")),
    "decoupled, inner decay": Method(ablated("decoupled")),
    "coupled, no inner decay": Method(ablated("coupled", inner=False)),
    "decoupled, no inner decay": Method(ablated("decoupled", inner=False)),
    **{f"coupled, S = {n}": Method(ablated("coupled", period=n)) for n in PERIODS},
    **{f"decoupled, S = {n}": Method(ablated("decoupled", period=n)) for n in PERIODS},
    **{
        f"{form}, anchor step {x}": Method(ablated(form, anchor_step=x))
        for form in FORMS
        for x in ANCHOR_STEPS
    },
    "adam, coupled, no inner decay": Method(ablated("coupled", l2_adam, inner=False)),
    "adam, decoupled, no inner decay": Method(
        ablated("decoupled", decoupled_adam, inner=False)
    ),
    "adam, coupled, inner decay": Method(ablated("coupled", l2_adam)),
    "adam, decoupled, inner decay": Method(ablated("decoupled", decoupled_adam)),
}
"""Of TRSGD, TRAdam and TRAdamW, the strength in the trial; S = 10 and anchor step 1
unless said."""


OPTIMIZERS: dict[str, Method] = {
    "sgd": Method(lambda t, d, s, _: l2_sgd(rate(t, d), s)),
    "trsgd": Method(sgd_family(prox_optax.trsgd)),
    "trsgdw": Method(sgd_family(prox_optax.trsgdw)),
    "adam": Method(lambda t, d, s, _: l2_adam(rate(t, d), s)),
    "adamw": Method(lambda t, d, s, _: decoupled_adam(rate(t, d), s)),
    "tradam": Method(adam_family(prox_optax.tradam)),
    "tradamw": Method(adam_family(prox_optax.tradamw)),
    # 0.293 is the mean of the inner decay over a period of 10; with momentum 0.9 a pull
    # of lambda_w = 0.01 takes another factor of 0.724.
    "sgd at 0.293 x": Method(lambda t, d, s, _: l2_sgd(rate(t, d, 0.293), s)),
    "sgd at 0.212 x": Method(lambda t, d, s, _: l2_sgd(rate(t, d, 0.212), s)),
    "inner decay alone": Method(
        lambda t, d, s, _: l2_sgd(prox_optax.inner_decay(rate(t, d), s.period), s)
    ),
    "anchor alone": Method(
        lambda t, d, s, _: optax.chain(anchor(d, s), l2_sgd(rate(t, d), s))
    ),
    "adam at 0.293 x": Method(lambda t, d, s, _: l2_adam(rate(t, d, 0.293), s)),
    "adam, inner decay alone": Method(
        lambda t, d, s, _: l2_adam(prox_optax.inner_decay(rate(t, d), s.period), s)
    ),
    "adam, anchor alone": Method(
        lambda t, d, s, _: optax.chain(anchor(d, s), l2_adam(rate(t, d), s))
    ),
    "adam, b2 rescaled": Method(adam_rescaled),
    "lookahead": Method(
        lambda t, d, s, _: optax.lookahead(l2_sgd(rate(t, d), s), 5, 0.5),
        start=optax.LookaheadParams.init_synced,
        gradient_at=lambda params: params.fast,
        evaluated=lambda params, state: params.slow,
    ),
    "weight average": averaged(l2_sgd),
    "adam, weight average": averaged(l2_adam),
    "schedule-free": Method(schedule_free, evaluated=schedule_free_average),
    "schedule-free adam": Method(schedule_free_adam, evaluated=schedule_free_average),
    "sam": Method(
        sam,
        evaluated=lambda params, state: optax.tree.where(
            state.steps_since_sync == 0, params, state.cache
        ),
    ),
    "clipping": Method(
        lambda t, d, s, _: optax.chain(
            optax.clip_by_global_norm(t["threshold"]), l2_sgd(rate(t, d), s)
        )
    ),
    "accumulation": Method(accumulation),
    "adam, accumulated to 16": Method(adam_accumulated),
    "muon": Method(
        lambda t, d, s, _: contrib.muon(
            rate(t, d), beta=s.b1, weight_decay=s.weight_decay
        )
    ),
    "muon beside adam": Method(muon_beside_adam),
    **ABLATIONS,
}
