"""A user's file, as mypy and pyright must see it: no Any, no error but those named.

mypy calls an ignore unused where its line has no such error, so that each names the
error that a checker must find. Those of `outer` need optax's types, which mypy reads
with --follow-untyped-imports.
"""

from dataclasses import dataclass
from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np
import optax

import prox_optax

Weights = dict[str, jax.Array]

params = {"w": jnp.zeros(3)}
tx = prox_optax.tradam(1e-3, period=20, lambda_w={"w": 0.1})
assert_type(tx, optax.GradientTransformationExtraArgs)
assert_type(prox_optax.proximal(), optax.GradientTransformationExtraArgs)
state = tx.init(params)

distance = prox_optax.anchor_distance(state, params)
assert_type(distance, prox_optax.AnchorDistance[Weights])
assert_type(distance.norm, jax.Array)
assert_type(distance.leaf_norm["w"], jax.Array)
assert_type(distance.leaf_relative, Weights)
assert_type(prox_optax.pull_ratio(state, params, params, 0.1), jax.Array)
assert_type(prox_optax.get_anchor(state, params), Weights)

anchored = prox_optax.ProximalState(anchor=params, step=jnp.int32(0))
assert_type(anchored.step, jax.Array)
assert_type(anchored.anchor["w"], jax.Array)
assert_type(prox_optax.set_anchor(anchored, params).anchor, Weights)
assert_type(prox_optax.carry_over((), anchored, step=5).anchor, Weights)

lookahead = prox_optax.outer(optax.sgd(0.5), period=5)
assert_type(lookahead, optax.GradientTransformationExtraArgs)
assert_type(prox_optax.OuterState(params, (), jnp.int32(0)).step, jax.Array)
assert_type(prox_optax.OuterState(params, (), jnp.int32(0)).anchor, Weights)

compact = prox_optax.CompactState(params, jnp.zeros(1), jnp.int32(0))
assert_type(compact.unit, jax.Array)
assert_type(compact.code, Weights)

schedule: optax.Schedule = prox_optax.inner_decay(0.1, period=10)
schedule = prox_optax.inner_decay({"w": 0.1}, period=jnp.int32(10))
prox_optax.tradamw(schedule, lambda_w={"w": jnp.ones(3)}, period=None)
state = prox_optax.set_anchor(state, params)
state = prox_optax.carry_over(optax.adam(1e-3).init(params), state, step=5)


@jax.tree_util.register_dataclass
@dataclass
class Model:
    """Stand for the module of a network, whose leaves are strengths."""

    w: jax.Array


def loss(model: Weights, example: jax.Array) -> jax.Array:
    return jnp.sum(model["w"] * example)


def of_a_caller(strength: jax.typing.ArrayLike, period: int | None) -> None:
    prox_optax.proximal(strength, period)
    prox_optax.decoupled_proximal(strength, anchor_step=strength, period=period)


fisher = prox_optax.fisher_diagonal(loss, params, jnp.ones((4, 3)))
assert_type(fisher, Weights)
fisher, anchor = prox_optax.consolidate(fisher, params, fisher, params)
assert_type(anchor, Weights)
prox_optax.proximal(fisher, period=None)
prox_optax.proximal(Model(jnp.ones(3)))
prox_optax.proximal([0.1, jnp.ones(3)], period=np.int64(5))
prox_optax.proximal(lambda step: 0.1 / (step + 1), anchor_dtype=jnp.bfloat16)
prox_optax.proximal(optax.linear_schedule(0.1, 0.0, 9), anchor_dtype="int16")
prox_optax.decoupled_proximal(
    np.float32(0.1), learning_rate=prox_optax.inner_decay(0.1)
)
prox_optax.trsgd(
    optax.constant_schedule(0.1), momentum=0.9, accumulator_dtype=np.float32
)


def wrong_strengths() -> None:
    prox_optax.proximal("0.1")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.proximal(None)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.proximal({0.1})  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.proximal(object())  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.proximal(Model)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.decoupled_proximal("0.1")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.tradam(0.1, lambda_w="0.1")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.trsgdw(0.1, lambda_w=None)  # type: ignore[arg-type]  # pyright: ignore


def wrong_rates() -> None:
    prox_optax.tradam("0.1")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.trsgd(None)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.trsgd()  # type: ignore[call-arg]  # pyright: ignore
    prox_optax.tradamw(0.1, b1="0.9")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.tradamw(0.1, weight_decay="0")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.inner_decay("0.1")  # type: ignore[arg-type]  # pyright: ignore


def misspelt() -> None:
    prox_optax.proximal(perod=5)  # type: ignore[call-arg]  # pyright: ignore
    prox_optax.tradam(0.1, lamda_w=0.1)  # type: ignore[call-arg]  # pyright: ignore
    prox_optax.trsgd(0.1, wight_decay=0.1)  # type: ignore[call-arg]  # pyright: ignore
    prox_optax.anchor_distanc(state)  # type: ignore[attr-defined]  # pyright: ignore
    print(distance.leaf_norms)  # type: ignore[attr-defined]  # pyright: ignore
    prox_optax.set_anchor(state)  # type: ignore[call-arg]  # pyright: ignore


def wrong_periods() -> None:
    prox_optax.proximal(period=2.5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.tradam(0.1, period=2.5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.trsgdw(0.1, period="5")  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.inner_decay(0.1, period=None)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.outer(optax.sgd(0.5), 2.5)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.proximal(anchor_dtype=16)  # type: ignore[arg-type]  # pyright: ignore
    prox_optax.outer(0.7, 5)  # type: ignore[arg-type, unused-ignore]  # pyright: ignore
