"""What a row of the table of optimizers says, and what an optimizer is made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import optax

Params = Any
OptState = Any
Numbers = Mapping[str, jax.Array]
"""The numbers of an optimizer by name, `learning_rate` among them. They are traced."""


@dataclass(frozen=True)
class Settings:
    """The numbers that all optimizers of an experiment share.

    Attributes:
      momentum: of the SGD family.
      weight_decay: decoupled where the method is (adamw, trsgdw, tradamw, muon), else
        added to the gradient.
      period: steps between two anchors, and of the inner decay.
      b1: of the Adam family, Muon and Schedule-Free.
      b2: of the Adam family.
      b2_batch: the batch size at which b2 is meant, for the optimizer that rescales it.
    """

    momentum: float
    weight_decay: float
    period: int
    b1: float = 0.9
    b2: float = 0.999
    b2_batch: int = 128


class Setup(NamedTuple):
    """What an optimizer is made from.

    Attributes:
      numbers: the learning rate at the first step, and the optimizer's own numbers.
      decay: the factor of the learning rate at a step; 1 at first.
      settings: what all optimizers of the experiment share.
      batch_size: examples a step.
    """

    numbers: Numbers
    decay: optax.Schedule
    settings: Settings
    batch_size: int

    def rate(self, factor: float = 1.0) -> optax.Schedule:
        """Return the learning rate as a schedule, times a factor."""
        return lambda step: factor * (self.numbers["learning_rate"] * self.decay(step))


class Lesson(NamedTuple):
    """Examples of a task, for methods that look at more than the gradient.

    Attributes:
      outputs: (parameters, inputs) -> logits.
      inputs: as the network gets them, shape (n, ...).
      labels: integers, shape (n,), or (n, k) where an example has k.
      recall: (tasks, places), integers of shape (k,) -> (inputs, labels) of these
        examples: a method that keeps examples keeps their tasks and places there.
      key: for what is random.
    """

    outputs: Callable[[Params, jax.Array], jax.Array]
    inputs: jax.Array
    labels: jax.Array
    recall: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    key: jax.Array


def unchanged(
    setup: Setup, lesson: Lesson, state: OptState, params: Params
) -> OptState:
    """Return the state as it is: most methods keep nothing of a finished task."""
    del setup, lesson, params
    return state


class Method(NamedTuple):
    """A row of the table of optimizers.

    An update gets two extra arguments: `key`, of what is random in it, the same in all
    trials of a seed; and in tasks that follow each other `lesson`, the `Lesson` of its
    batch.

    Attributes:
      make: the transformation from a `Setup`; in the training loop, from `Numbers`.
      numbers: the optimizer's own numbers by name, each with the values to try.
      start: what the loop updates, from the network's parameters.
      gradient_at: from that, the parameters at which the gradient is taken.
      evaluated: from that and the optimizer's state, the parameters to evaluate.
      between: from a `Setup`, in the training loop `Numbers`, the `Lesson` of a whole
        finished task, the state and the parameters, the state before the next task.
    """

    make: Callable[..., optax.GradientTransformation]
    numbers: Mapping[str, tuple[float, ...]] = {}
    start: Callable[[Params], Params] = lambda params: params
    gradient_at: Callable[[Params], Params] = lambda params: params
    evaluated: Callable[[Params, OptState], Params] = lambda params, state: params
    between: Callable[..., OptState] = unchanged

    def bind(
        self, decay: optax.Schedule, settings: Settings, batch_size: int
    ) -> "Method":
        """Return the method for the training loop, which gives numbers alone."""

        def setup(numbers: Numbers) -> Setup:
            return Setup(numbers, decay, settings, batch_size)

        def between(numbers: Numbers, *finished: Any) -> OptState:
            return self.between(setup(numbers), *finished)

        return self._replace(
            make=lambda numbers: self.make(setup(numbers)), between=between
        )
