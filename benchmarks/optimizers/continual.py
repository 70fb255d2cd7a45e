"""Methods that remember old tasks while a network is trained on the next.

They are for tasks in series. The first task is trained plainly, at a rate that is given
and not tuned, so that all methods of a base begin the second with the same network.
Then the base starts anew, with what the method keeps of the finished task.

A pull adds strength * F_i (w_i - a_i)^2 to the loss, or does as much in the step: F is
1 for L2-SP, the Fisher information for EWC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import prox_optax
from benchmarks.optimizers.bases import Base, l2_adam, l2_sgd
from benchmarks.optimizers.memory import (
    Memory,
    Term,
    Weigh,
    as_before_on_kept,
    as_before_on_new,
    fisher,
    from_adam,
    kept_after,
    replayed,
)
from benchmarks.optimizers.method import Lesson, Method, Params, Setup

OLD, BASE, AVERAGE, SHARE = "old", "base", "average", "share"


class Now(NamedTuple):
    """What an optimizer is made from within a task.

    Attributes:
      setup: the numbers of the trial.
      rate: the learning rate in this task.
      weights: strength times F, a number or a tree; 0 in the first task.
      follows: whether there was a task before.
    """

    setup: Setup
    rate: Any
    weights: Params
    follows: jax.Array


Inner = Callable[[Base, Now], optax.GradientTransformation]
"""Puts a base and the pull together."""


def alone(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base without a pull."""
    return base(now.setup, now.rate)


def coupled(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base behind the pull."""
    pull = prox_optax.proximal(now.weights, period=None)
    return optax.named_chain((OLD, pull), (BASE, base(now.setup, now.rate)))


def decoupled(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base with the pull in its step."""
    pull = prox_optax.decoupled_proximal(
        now.weights, period=None, learning_rate=now.rate
    )
    return optax.named_chain((BASE, base(now.setup, now.rate)), (OLD, pull))


def merged(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base whose parameters go a part of the way back every period.

    This is SFA, arXiv 2501.05559.
    """
    part, period = now.setup.numbers["merge"], now.setup.settings.period

    def lambda_w(step: Any) -> jax.Array:
        due = now.follows & ((step + 1) % period == 0)
        return jnp.where(due, part / (1 - part) / 2, 0.0)

    pull = prox_optax.decoupled_proximal(lambda_w, period=None)
    return optax.named_chain((BASE, base(now.setup, now.rate)), (OLD, pull))


def averaged(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base beside an average that begins with the old parameters."""
    step = now.setup.numbers["average_step"]
    average = prox_optax.proximal(0.0, period=1, anchor_step=step)
    return optax.named_chain((BASE, base(now.setup, now.rate)), (AVERAGE, average))


class Share(NamedTuple):
    """The state of a transformation that holds a number and changes nothing."""

    share: jax.Array


def interpolated(base: Base, now: Now) -> optax.GradientTransformation:
    """Return a base beside the share of the new parameters in what is evaluated."""

    def init(params: Params) -> Share:
        return Share(jnp.asarray(now.setup.numbers["share"]))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return updates, state

    share = optax.GradientTransformation(init, update)
    return optax.named_chain((BASE, base(now.setup, now.rate)), (SHARE, share))


def the_average(params: Params, state: Memory) -> Params:
    """Return the average; in the first task, the parameters."""
    average = prox_optax.get_anchor(state.inner, params, AVERAGE)
    return optax.tree.where(state.finished > 0, average, params)


def between_old_and_new(params: Params, state: Memory) -> Params:
    """Return WiSE-FT's interpolation; in the first task, the parameters."""
    share = state.inner[SHARE].share
    mixed = jax.tree.map(lambda w, a: a + share * (w - a), params, state.teacher)
    return optax.tree.where(state.finished > 0, mixed, params)


@dataclass(frozen=True)
class Remembering:
    """A method, put together from what it keeps and how it uses that.

    Attributes:
      base: the bare optimizer.
      first_rate: its learning rate in the first task.
      inner: how base and pull stand together.
      weigh: F of a finished task. It is added to that of the tasks before, and the
        anchor is their mean, weighted by F. None: F is 1, the anchor the last task's.
      to_zero: whether the pull is to 0 instead of the old parameters.
      teaches: whether the old parameters are kept beside the pull.
      term: what is added to the loss, times the number `weight`.
      keeps: the number of examples that are kept.
    """

    base: Base
    first_rate: float
    inner: Inner = alone
    weigh: Weigh | None = None
    to_zero: bool = False
    teaches: bool = False
    term: Term | None = None
    keeps: int = 0

    def method(
        self,
        numbers: Mapping[str, tuple[float, ...]] = {},
        evaluated: Callable[[Params, Any], Params] = lambda params, state: params,
    ) -> Method:
        """Return the row of the table of optimizers, with the numbers to try."""
        return Method(self.make, numbers, evaluated=evaluated, between=self.between)

    def optimizer(
        self, setup: Setup, finished: jax.Array, fisher: Params
    ) -> optax.GradientTransformation:
        """Return the optimizer of the task after so many finished ones."""
        follows = finished > 0
        rate = jnp.where(follows, setup.numbers["learning_rate"], self.first_rate)
        strength = jnp.where(follows, setup.numbers.get("strength", 0.0), 0.0)
        weights = strength
        if self.weigh is not None:
            weights = jax.tree.map(lambda f: strength * f, fisher)
        return self.inner(self.base, Now(setup, rate, weights, follows))

    def make(self, setup: Setup) -> optax.GradientTransformationExtraArgs:
        """Return the optimizer of all tasks; its update needs the batch's `lesson`."""

        def init(params: Params) -> Memory:
            finished = jnp.int32(0)
            fisher = optax.tree.zeros_like(params) if self.weigh else ()
            kept = jnp.zeros((self.keeps, 2), jnp.int32) if self.keeps else ()
            inner = self.optimizer(setup, finished, fisher).init(params)
            return Memory(finished, fisher, self.teacher(params), kept, inner)

        def update(
            updates: Any, state: Any, params: Any = None, **extra: Any
        ) -> tuple[Any, Any]:
            grads = self.with_term(setup, extra["lesson"], state, updates, params)
            tx = self.optimizer(setup, state.finished, state.fisher)
            updates, inner = tx.update(grads, state.inner, params)
            return updates, state._replace(inner=inner)

        return optax.GradientTransformationExtraArgs(init, update)

    def with_term(
        self, setup: Setup, lesson: Lesson, memory: Memory, grads: Any, params: Params
    ) -> Any:
        """Add the gradient of the term; in the first task there is none."""
        if (term := self.term) is None:
            return grads
        more = jax.grad(lambda own: term(lesson, memory, own))(params)
        weight = jnp.where(memory.finished > 0, setup.numbers["weight"], 0.0)
        return jax.tree.map(lambda g, m: g + weight * m, grads, more)

    def between(
        self, setup: Setup, lesson: Lesson, memory: Memory, params: Params
    ) -> Memory:
        """Return what is known after a finished task, with a new optimizer's state."""
        fisher, anchor = self.target(setup, lesson, memory, params)
        finished = memory.finished + 1
        inner = self.optimizer(setup, finished, fisher).init(params)
        if anchor is not params:  # from which an optimizer starts
            inner = prox_optax.set_anchor(inner, anchor, OLD)
        kept = kept_after(lesson, memory) if self.keeps else ()
        return Memory(finished, fisher, self.teacher(params), kept, inner)

    def target(
        self, setup: Setup, lesson: Lesson, memory: Memory, params: Params
    ) -> tuple[Params, Params]:
        """Return F and the anchor of the pull after a finished task."""
        if self.weigh is None:
            return (), optax.tree.zeros_like(params) if self.to_zero else params
        old = prox_optax.get_anchor(memory.inner, params, OLD)
        new = self.weigh(setup, lesson, memory, params)
        return prox_optax.consolidate(memory.fisher, old, new, params)

    def teacher(self, params: Params) -> Params:
        """Return the old parameters, if they are kept."""
        return params if self.teaches else ()


PLAIN = Remembering(l2_sgd, first_rate=0.1)
PLAIN_ADAM = Remembering(l2_adam, first_rate=0.003)
DECAY = {"strength": (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01)}
L2 = {"strength": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)}
L2_ADAM = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
EWC_ADAM = {"strength": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)}  # coupled
EWC = {"strength": (5.0, 20.0, 80.0, 320.0, 1280.0, 5120.0)}
KL = {"weight": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
KEPT = {"weight": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)}


def ewc(
    plain: Remembering,
    inner: Inner,
    weigh: Weigh = fisher,
    numbers: Mapping[str, tuple[float, ...]] = EWC,
) -> Method:
    """Return EWC in a form, with F from `weigh`."""
    return replace(plain, inner=inner, weigh=weigh).method(numbers)


def going_back(plain: Remembering) -> dict[str, Method]:
    """Return a base whose parameters are mixed with the old ones or with averages."""
    sfa, average = (replace(plain, inner=inner) for inner in (merged, averaged))
    wise = replace(plain, inner=interpolated, teaches=True)
    return {
        "sfa": sfa.method({"merge": (0.01, 0.03, 0.1, 0.2, 0.4, 0.7)}),
        "average from the old": average.method(
            {"average_step": (0.003, 0.006, 0.012, 0.025, 0.05, 0.1)}, the_average
        ),
        "wise-ft": wise.method(
            {"share": (0.4, 0.55, 0.7, 0.8, 0.9, 0.97)}, between_old_and_new
        ),
    }


def taught(plain: Remembering) -> dict[str, Method]:
    """Return a base with a term for the old network's outputs, and EWC with it."""
    kl = replace(plain, term=as_before_on_new, teaches=True)
    both = ewc(kl, decoupled, numbers=EWC | {"weight": (0.1,)})
    return {"kl on new inputs": kl.method(KL), "kl on new inputs, ewc": both}


def keeping(plain: Remembering, examples: int) -> dict[str, Method]:
    """Return a base with a term of so many kept examples."""
    kl = replace(plain, term=as_before_on_kept, teaches=True, keeps=examples)
    return replaying(plain, examples) | {f"kl on {examples} kept": kl.method(KEPT)}


def replaying(plain: Remembering, examples: int) -> dict[str, Method]:
    """Return a base that is trained on so many kept examples too."""
    replay = replace(plain, term=replayed, keeps=examples)
    return {f"replay of {examples}": replay.method(KEPT)}


OTHERS = going_back(PLAIN_ADAM) | taught(PLAIN_ADAM) | keeping(PLAIN_ADAM, 130)
OPTIMIZERS = {
    "plain": PLAIN.method(),
    "decay to 0": replace(PLAIN, inner=decoupled, to_zero=True).method(DECAY),
    "l2-sp, coupled": replace(PLAIN, inner=coupled).method(L2),
    "l2-sp, decoupled": replace(PLAIN, inner=decoupled).method(L2),
    "ewc, coupled": ewc(PLAIN, coupled),
    "ewc, decoupled": ewc(PLAIN, decoupled),
    **going_back(PLAIN),
    **taught(PLAIN),
    **keeping(PLAIN, 150),
    **keeping(PLAIN, 10),
    **replaying(PLAIN, 200),
    "plain adam": PLAIN_ADAM.method(),
    "adam, l2-sp, decoupled": replace(PLAIN_ADAM, inner=decoupled).method(L2_ADAM),
    "adam, ewc, coupled": ewc(PLAIN_ADAM, coupled, fisher, EWC_ADAM),
    "adam, ewc, decoupled": ewc(PLAIN_ADAM, decoupled),
    "adam, ewc from its moment, coupled": ewc(PLAIN_ADAM, coupled, from_adam, EWC_ADAM),
    "adam, ewc from its moment, decoupled": ewc(PLAIN_ADAM, decoupled, from_adam),
    "adam, decay to 0": replace(PLAIN_ADAM, inner=decoupled, to_zero=True).method(
        DECAY
    ),
    "adam, l2-sp, coupled": replace(PLAIN_ADAM, inner=coupled).method(L2),
    **{f"adam, {name}": each for name, each in OTHERS.items()},
}
