"""A user's file, as mypy --strict and pyright must see it: no Any, no error."""

from typing import assert_type

import jax
import jax.numpy as jnp
import optax

import prox_optax

params = {"w": jnp.zeros(3)}
tx = prox_optax.tradam(1e-3, period=20, lambda_w={"w": 0.1})
assert_type(tx, optax.GradientTransformationExtraArgs)
assert_type(prox_optax.proximal(), optax.GradientTransformationExtraArgs)
state = tx.init(params)

distance = prox_optax.anchor_distance(state, params)
assert_type(distance, prox_optax.AnchorDistance)
assert_type(distance.norm, jax.Array)
assert_type(prox_optax.pull_ratio(state, params, params, 0.1), jax.Array)

anchored = prox_optax.ProximalState(anchor=params, step=jnp.int32(0))
assert_type(anchored.step, jax.Array)

lookahead = prox_optax.outer(optax.sgd(0.5), period=5)
assert_type(lookahead, optax.GradientTransformationExtraArgs)
assert_type(prox_optax.OuterState(params, (), jnp.int32(0)).step, jax.Array)

compact = prox_optax.CompactState(params, jnp.zeros(1), jnp.int32(0))
assert_type(compact.unit, jax.Array)

schedule: optax.Schedule = prox_optax.inner_decay(0.1, period=10)
schedule = prox_optax.inner_decay({"w": 0.1}, period=jnp.int32(10))
prox_optax.tradamw(schedule, lambda_w={"w": jnp.ones(3)}, period=None)
state = prox_optax.set_anchor(state, params)
state = prox_optax.carry_over(optax.adam(1e-3).init(params), state, step=5)


def wrong() -> None:
    """Write what a checker must not let pass: else it calls an ignore unused."""
    prox_optax.proximal(perod=5)  # type: ignore[call-arg]  # pyright: ignore
    prox_optax.proximal(period=2.5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.outer(0.7, period=5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.tradam(0.1, period=2.5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.inner_decay(0.1, period=None)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.set_anchor(state)  # type: ignore[call-arg]  # pyright: ignore
