"""What a method keeps of old tasks, and what it can do with that."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import prox_optax
from benchmarks.optimizers.method import Lesson, OptState, Params, Setup

TAKEN_AT_ONCE = 64  # examples whose gradients are squared together


class Memory(NamedTuple):
    """What a method has of the tasks before, and the state of its optimizer.

    What a method does not use is an empty pytree.

    Attributes:
      finished: int32, shape (), the number of tasks before.
      fisher: how strongly each parameter is pulled, relative to the strength.
      teacher: the parameters at the end of the task before.
      kept: int32, shape (k, 2), the tasks and places of the examples that are kept.
      inner: the optimizer's state, with the anchor of the pull in it.
    """

    finished: jax.Array
    fisher: Params
    teacher: Params
    kept: Any
    inner: OptState


Weigh = Callable[[Setup, Lesson, Memory, Params], Params]
"""Gives F of the pull, from a finished task."""

Term = Callable[[Lesson, Memory, Params], jax.Array]
"""Gives what is added to the loss of a batch."""


def fisher(
    setup: Setup,
    lesson: Lesson,
    memory: Memory,
    params: Params,
    together: int = TAKEN_AT_ONCE,
) -> Params:
    """Return the diagonal of the Fisher information of a label, drawn by the network.

    Where an example has several labels, it is their mean. So many gradients are squared
    together.
    """

    def surprise(params: Params, example: tuple[jax.Array, jax.Array]) -> jax.Array:
        one, key = example
        logits = lesson.outputs(params, one[jnp.newaxis])[0]
        label = jax.random.categorical(key, jax.lax.stop_gradient(logits))
        loss = optax.losses.softmax_cross_entropy_with_integer_labels
        return loss(logits, label).sum()

    keys = jax.random.split(lesson.key, len(lesson.inputs))
    examples = lesson.inputs, keys
    size = min(together, len(keys))
    found = prox_optax.fisher_diagonal(surprise, params, examples, batch_size=size)
    return jax.tree.map(lambda f: f / labels_each(lesson), found)


def labels_each(lesson: Lesson) -> int:
    """Return the number of labels of an example."""
    return lesson.labels.size // len(lesson.labels)


def from_adam(setup: Setup, lesson: Lesson, memory: Memory, params: Params) -> Params:
    """Return the Fisher information that Adam's second moment estimates."""
    labels = setup.batch_size * labels_each(lesson)
    return prox_optax.fisher_from_adam(
        memory.inner, batch_size=labels, b2=setup.settings.b2
    )


def divergence(
    lesson: Lesson, teacher: Params, params: Params, inputs: jax.Array
) -> jax.Array:
    """Return the mean KL divergence of the network's outputs from the old ones."""
    old, new = (
        jax.nn.log_softmax(lesson.outputs(x, inputs)) for x in (teacher, params)
    )
    return jnp.mean(jnp.sum(jnp.exp(old) * (old - new), axis=-1))


def as_before_on_new(lesson: Lesson, memory: Memory, params: Params) -> jax.Array:
    """Return the divergence from the old network on the batch: LwF, temperature 1."""
    return divergence(lesson, memory.teacher, params, lesson.inputs)


def as_before_on_kept(lesson: Lesson, memory: Memory, params: Params) -> jax.Array:
    """Return the divergence from the old network on kept examples."""
    inputs, _ = some_kept(lesson, memory)
    return divergence(lesson, memory.teacher, params, inputs)


def replayed(lesson: Lesson, memory: Memory, params: Params) -> jax.Array:
    """Return the cross-entropy of kept examples."""
    inputs, labels = some_kept(lesson, memory)
    logits = lesson.outputs(params, inputs)
    loss = optax.losses.softmax_cross_entropy_with_integer_labels
    return loss(logits, labels).mean()


def some_kept(lesson: Lesson, memory: Memory) -> tuple[jax.Array, jax.Array]:
    """Draw as many of the kept examples as the batch has."""
    shape = (len(lesson.inputs),)
    chosen = jax.random.randint(lesson.key, shape, 0, len(memory.kept))
    return lesson.recall(*memory.kept[chosen].T)


def kept_after(lesson: Lesson, memory: Memory) -> jax.Array:
    """Return the examples to keep after a task: in the mean as many of each task."""
    slots, (choose, replaces) = len(memory.kept), jax.random.split(lesson.key)
    task = jnp.full(slots, memory.finished)
    order = jax.random.permutation(choose, len(lesson.inputs))
    new = jnp.stack([task, jnp.resize(order, (slots,))], axis=-1)
    share = 1 / (memory.finished + 1)
    put = jax.random.uniform(replaces, (slots, 1)) < share
    return jnp.where(put, new, memory.kept)
