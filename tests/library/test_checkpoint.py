"""Orbax: saved, restored into a target, and resumed across a move of the anchor."""

import re
import shutil
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest
from test_contract import (
    FACTORIES,
    PERIOD,
    STEPS,
    make,
    params_of,
    step,
    train,
)

import prox_optax

GOLDEN = Path(__file__).parent / "golden" / "tradam_checkpoint"
GOLDEN_INT16 = GOLDEN.with_name("tradam_int16_checkpoint")
GOLDEN_STEPS = PERIOD + 1


def golden_optimizer(anchor_dtype=None):
    """Has an anchor's state and the inner decay's, and a schedule's count."""
    return make(
        "tradam",
        learning_rate=lambda t: 0.1 / (t + 1),
        lambda_w=0.05,
        anchor_dtype=anchor_dtype,
    )


def save(directory, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory, tree)
        checkpointer.wait_until_finished()


def saved(directory):
    """Return what a checkpoint holds, by the names in it, without the arrays."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.metadata(directory).item_metadata.tree


def restore(directory, target=None):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(directory, target)


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    ("after_set_anchor", "anchor_dtype"),
    [(False, None), (True, None), (False, "int16")],
)
def test_resume_is_bitwise(name, after_set_anchor, anchor_dtype, tmp_path):
    tx = make(name, anchor_dtype=anchor_dtype)
    w, state = train(tx, params_of(), PERIOD - 1)
    if after_set_anchor:
        state = prox_optax.set_anchor(state, jax.tree.map(jnp.zeros_like, w))
    save(tmp_path / "checkpoint", (w, state))
    restored = restore(tmp_path / "checkpoint", jax.eval_shape(lambda: (w, tx.init(w))))

    chex.assert_trees_all_equal(restored, (w, state))
    chex.assert_trees_all_equal(
        train(tx, restored[0], state=restored[1]), train(tx, w, state=state)
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_async_manager_saves_while_training_goes_on(name, tmp_path):
    """The buffers that are being written are donated to the next step."""
    tx = make(name)
    donating = jax.jit(lambda w, state: step(tx, w, state), donate_argnums=(0, 1))
    w = params_of()
    state = tx.init(w)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=True
    )
    with ocp.CheckpointManager(tmp_path, options=options) as manager:
        for t in range(STEPS):
            manager.save(t, args=ocp.args.StandardSave((w, state)))
            w, state = donating(w, state)
        manager.wait_until_finished()
        last = manager.latest_step()
        target = jax.eval_shape(lambda: (params_of(), tx.init(params_of())))
        args = ocp.args.StandardRestore(target)
        w_last, state_last = manager.restore(last, args=args)
    assert last == STEPS - 1
    chex.assert_trees_all_equal(donating(w_last, state_last), (w, state))


@pytest.mark.parametrize(
    ("path", "anchor_dtype", "fields"),
    [
        (GOLDEN, None, [".anchor['bias']", ".anchor['kernel']"]),
        (GOLDEN_INT16, "int16", [".code['bias']", ".code['kernel']", ".unit"]),
    ],
)
def test_state_of_a_committed_checkpoint(path, anchor_dtype, fields):
    """What users have saved: neither names nor order may change.

    Made with `save(path, train(golden_optimizer(...), params_of(), GOLDEN_STEPS))`.
    """
    anchor, l2, adam, inner_decay = saved(path)[1]
    assert set(anchor) == {re.match(r"\.(\w+)", x)[1] for x in [*fields, ".step"]}
    assert not l2
    assert set(adam[0]) == {"count", "mu", "nu"}
    assert set(inner_decay) == {"inner_step"}

    tx = golden_optimizer(anchor_dtype)
    # Arrays, not shapes: it was written on a CPU, and this may be a GPU.
    w, state = restore(path, (params_of(), tx.init(params_of())))
    assert int(state[0].step) == GOLDEN_STEPS  # counts on, for the schedule
    assert int(state[3].inner_step) == GOLDEN_STEPS % PERIOD
    leaves = jax.tree_util.tree_leaves_with_path(state)
    assert [jax.tree_util.keystr(path) for path, _ in leaves] == [
        *(f"[0]{field}" for field in fields),
        "[0].step",
        "[2][0].count",
        "[2][0].mu['bias']",
        "[2][0].mu['kernel']",
        "[2][0].nu['bias']",
        "[2][0].nu['kernel']",
        "[2][1].count",
        "[3].inner_step",
    ]
    # Another machine may round a step otherwise than the one that wrote it.
    chex.assert_trees_all_close(
        train(tx, w, state=state),
        train(tx, params_of(), GOLDEN_STEPS + STEPS),
        rtol=1e-5,
        atol=1e-6,
    )
    distance = prox_optax.anchor_distance(state, w)
    assert distance.leaf_norm["bias"] > 0


def test_a_checkpoint_of_another_device_is_restored_into_arrays(tmp_path):
    """Into shapes without a sharding Orbax restores on the device it was saved on."""
    moved = shutil.copytree(GOLDEN, tmp_path / "checkpoint")
    sharding = moved / "_sharding"
    sharding.write_text(sharding.read_text().replace("cpu:0", "another:0"))
    target = params_of(), golden_optimizer().init(params_of())
    chex.assert_trees_all_equal(restore(moved, target), restore(GOLDEN, target))
