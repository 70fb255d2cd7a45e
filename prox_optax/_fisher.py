"""The Fisher information: which weights an anchor should hold."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import keystr, tree_leaves_with_path
from jax.typing import ArrayLike

from prox_optax import _tree_checks, _validation
from prox_optax._placement import (
    in_manual_mesh,
    varying_like,
    wide_dtype,
)
from prox_optax._types import Params


def fisher_diagonal(
    loss: Callable[[Any, Any], jax.Array],
    params: Params,
    examples: Any,
    *,
    batch_size: int | None = None,
) -> Params:
    r"""Compute the diagonal of the Fisher information from each example's gradient.

    .. math::

      F_i = \frac{1}{n} \sum_{j=1}^{n}
        \left( \frac{\partial}{\partial w_i} \ell(w, x_j) \right)^2

    It is the mean of squares. The square of the mean, which is what the gradient of a
    whole batch would give, is about 0 where training has ended.

    With labels as the data give them this is the empirical Fisher information. For the
    Fisher information itself let the loss draw each label from the model, from a key in
    the example::

      def loss(params, example):
          x, key = example
          log_p = jax.nn.log_softmax(model(params, x))
          return -log_p[jax.random.categorical(key, log_p)]

    Args:
      loss: :math:`\ell`, the negative log-likelihood of one example:
        ``loss(params, example)`` -> a real number.
      params: :math:`w`, any pytree of floating or complex arrays.
      examples: a pytree of arrays, each with a leading axis of :math:`n \ge 1`.
      batch_size: how many examples are taken at once, an integer >= 1; it need not
        divide :math:`n`. None takes all at once, with memory for :math:`n` gradients.

    Returns:
      :math:`F \ge 0` in the structure and the shapes of the params, float32 or wider.
      Times :math:`\lambda / 2` it is EWC's strength for :func:`proximal`.

    Raises:
      TypeError, ValueError: for a loss that is not one real number, params that are
        not floating or complex, examples without a leading axis in common, or a batch
        size that is no integer >= 1.

    Example:
      >>> import jax.numpy as jnp, prox_optax
      >>> def loss(w, example):  # a Gaussian of variance 1
      ...     x, y = example
      ...     return 0.5 * (w @ x - y) ** 2
      >>> examples = jnp.array([[1.0, 0.0], [2.0, 1.0]]), jnp.array([1.0, -1.0])
      >>> prox_optax.fisher_diagonal(loss, jnp.zeros(2), examples)
      Array([2.5, 0.5], dtype=float32)

    Reference:
      Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS
      2017, https://arxiv.org/abs/1612.00796; on the ways to compute it van de Ven,
      2025, https://arxiv.org/abs/2502.11756
    """
    _check_params(params)
    n = _count(examples)
    if batch_size is not None:
        _check_batch_size(batch_size)
    mean = partial(_mean_of_squares, partial(_checked, loss), n, batch_size or n)
    return jax.jit(mean)(params, examples)


def _mean_of_squares(loss: Any, n: int, size: int, params: Any, examples: Any) -> Any:
    """Return the mean of each example's squared gradient, ``size`` examples at once."""
    gradients = jax.vmap(jax.grad(loss), (None, 0))
    if in_manual_mesh():  # else a gradient would be summed over devices, then squared
        params = jax.tree.map(partial(varying_like, examples), params)

    def sum_of_squares(some: Any) -> Any:
        return jax.tree.map(
            lambda g: jnp.square(jnp.abs(g.astype(wide_dtype(g)))).sum(axis=0),
            gradients(params, some),
        )

    def add(total: Any, start: jax.Array) -> tuple[Any, None]:
        some = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), examples
        )
        return jax.tree.map(jnp.add, total, sum_of_squares(some)), None

    first = n % size or min(n, size)  # the batch that need not be full
    total = sum_of_squares(jax.tree.map(lambda x: x[:first], examples))
    if first < n:
        total, _ = jax.lax.scan(add, total, jnp.arange(first, n, size))
    return jax.tree.map(lambda x: x / n, total)


def _check_params(params: Any) -> None:
    """Raise unless all leaves are numbers that a loss has a gradient by."""
    for path, w in tree_leaves_with_path(params):
        is_number = isinstance(w, float | complex) or hasattr(w, "dtype")
        if not is_number or not jnp.issubdtype(jnp.result_type(w), jnp.inexact):
            raise TypeError(
                f"params{keystr(path)} is {_tree_checks.in_words(w)}, and only "
                "floating or complex parameters have a Fisher information; give the "
                "trainable part of the model: nnx.state(model, nnx.Param), or the "
                "first of eqx.partition(model, eqx.is_inexact_array)."
            )


def _checked(loss: Any, params: Any, example: Any) -> jax.Array:
    """Return the loss of one example, which has to be one real number."""
    value = loss(params, example)
    is_real = jax.tree_util.all_leaves([value]) and jnp.isrealobj(value)
    if not is_real or jnp.shape(value) != ():
        shown = jax.tree.map(_tree_checks.in_words, value)
        raise ValueError(
            f"loss(params, example) must be one real number, got {shown}; return the "
            "negative log-likelihood of one example, summed over its parts, alone."
        )
    return jnp.asarray(value)


def _count(examples: Any) -> int:
    """Return how many examples there are."""
    shapes = [jnp.shape(x) for x in jax.tree.leaves(examples)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "examples must be arrays with the same leading axis, one entry or more, "
            f"got the shapes {shapes}; stack the examples on axis 0."
        )
    return counts.pop()


def _check_batch_size(batch_size: Any) -> None:
    hint = "write batch_size=32, or None for all examples at once"
    is_integer = isinstance(batch_size, int | np.integer)
    if not is_integer or isinstance(batch_size, bool):
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}; {hint}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}; {hint}.")


def fisher_from_adam(
    opt_state: optax.OptState, *, batch_size: ArrayLike, b2: ArrayLike = 0.999
) -> Any:
    r"""Estimate the Fisher diagonal from Adam's second moment, at no cost.

    .. math:: F = B\, \hat v, \qquad \hat v = \frac{v}{1 - \beta_2^t}

    Adam averages the square of the gradient of a batch of :math:`B` examples. At a
    minimum the gradients of the examples cancel in the mean, and the square that is
    left is :math:`1 / B` of theirs, so that :math:`F` is the empirical Fisher
    information averaged over the last :math:`1 / (1 - \beta_2)` steps.

    It is good at the end of a training that has converged, with a loss that is a mean
    over the batch. It is not the Fisher information where

    - training is far from a minimum: the mean gradient adds :math:`B\, \bar g^2`;
    - the weights moved far within the average: old gradients count;
    - gradients were clipped, scaled or decayed before Adam, or a pull or L2 was added:
      the square is of what Adam was given;
    - gradients were accumulated or averaged over devices: :math:`B` is then the number
      of examples in all of them.

    Args:
      opt_state: the state of an optimizer with one ``optax.adam`` (or ``adamw``,
        ``nadam``, ``radam``, ``lamb``) at any depth. ``optax.adamax``, ``yogi`` and
        ``contrib.adopt`` keep something else in a state of the same kind: they give no
        Fisher information.
      batch_size: :math:`B > 0`, the examples of one step.
      b2: :math:`\beta_2` in [0, 1), as the optimizer has it.

    Returns:
      :math:`F` in the structure of the second moment, float32 or wider, with an
      ``optax.MaskedNode`` where Adam was masked.

    Raises:
      TypeError, ValueError: for a state with no Adam or several, one that took no step
        (under ``jit`` the result is then NaN), a stack of states, or numbers out of
        range.

    Example:
      >>> import jax.numpy as jnp, optax, prox_optax
      >>> tx = optax.adam(1e-3)
      >>> w = jnp.zeros(2)
      >>> _, state = tx.update(jnp.array([1.0, 2.0]), tx.init(w), w)
      >>> prox_optax.fisher_from_adam(state, batch_size=8).round(2)
      Array([ 8., 32.], dtype=float32)

    Reference:
      Li, Dangel, Tam, Raffel, "Fishers for Free?", ICML 2025,
      https://arxiv.org/abs/2507.18807
    """
    hint = "write the number of examples of a step, such as batch_size=32"
    _validation.check_number("batch_size", batch_size, _validation.POSITIVE, hint)
    _validation.check_number("b2", b2, _validation.DECAY, "write b2=0.999")
    adam = _only_adam(opt_state)
    count = _tree_checks.only_array(adam.count)
    if jnp.ndim(count) > 0:
        raise ValueError(
            f"opt_state is a stack of {len(count)} states; write jax.vmap(lambda "
            "state: fisher_from_adam(state, batch_size=...))(opt_state)."
        )
    if not isinstance(count, jax.core.Tracer) and count == 0:
        raise ValueError(
            "Adam took no step in this state, so it has seen no gradient; give the "
            "state at the end of training."
        )
    wide = jax.tree.map(lambda v: v.astype(wide_dtype(v)), adam.nu)
    second = optax.tree.bias_correction(wide, b2, count)
    return jax.tree.map(lambda v: jnp.asarray(batch_size, v.dtype) * v, second)


def _only_adam(opt_state: Any) -> optax.ScaleByAdamState:
    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    nodes = tree_leaves_with_path(opt_state, is_leaf=is_adam)
    found = [(path, node) for path, node in nodes if is_adam(node)]
    if not found:
        raise ValueError(
            "opt_state holds no state of Adam; give the whole state of an optimizer "
            "with optax.adam or optax.adamw, from a checkpoint restored with a target "
            "such as what init makes."
        )
    if len(found) > 1:
        places = ", ".join(f"opt_state{keystr(path)}" for path, _ in found)
        raise ValueError(
            f"opt_state holds {len(found)} states of Adam, at {places}; give one of "
            "them."
        )
    (_, adam), *_ = found
    return adam
