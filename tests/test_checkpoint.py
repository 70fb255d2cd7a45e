"""Orbax: saved, restored into a target, and resumed across a move of the anchor."""

import chex
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
from test_contract import FACTORIES, PERIOD, make, params_of, train

import prox_optax


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("after_set_anchor", [False, True])
def test_resume_is_bitwise(name, after_set_anchor, tmp_path):
    tx = make(name)
    w, state = train(tx, params_of(), PERIOD - 1)
    if after_set_anchor:
        state = prox_optax.set_anchor(state, jax.tree.map(jnp.zeros_like, w))

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", (w, state))
        checkpointer.wait_until_finished()
        target = jax.eval_shape(lambda: (w, state))
        restored = checkpointer.restore(tmp_path / "checkpoint", target)

    chex.assert_trees_all_equal(restored, (w, state))
    chex.assert_trees_all_equal(
        train(tx, restored[0], state=restored[1]), train(tx, w, state=state)
    )
