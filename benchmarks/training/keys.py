"""The keys of all that is random in a run, made from its seed."""

import jax


def init_key(seed: jax.Array | int) -> jax.Array:
    """Return the key of a seed's initial parameters."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def order_key(seed: jax.Array | int) -> jax.Array:
    """Return the key of a seed's data order; the task folds in the epoch."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def step_key(seed: jax.Array | int, step: jax.Array | int) -> jax.Array:
    """Return the key of all that is random in a seed's step.

    Steps are counted from 0 over all epochs. The losses get this key; the noise of the
    n-th player's gradient folds in another n, and the optimizers 0.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), step)


def between_key(seed: jax.Array | int, epoch: jax.Array | int) -> jax.Array:
    """Return the key of all that is random when a seed's task ends before an epoch."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 3), epoch)
