"""The sharded example: the same numbers on any devices, layout and processes."""

import collections
import os
import re
import socket
import subprocess
import sys
import time
from functools import partial

import chex
import digits
import jax
import optax
import orbax.checkpoint as ocp
import pytest
import train_sharded
from jax.sharding import AxisType
from train_sharded import Layout, batch_at, init, placed, train, train_step

import prox_optax

STEPS = 20
TX = prox_optax.tradamw(1e-2)
COLLECTIVES = r"\b(all-\w+|reduce-scatter|collective-\w+)(?:-start)?\("
# Sums over the batch in another order; 4e-7 at most was seen in 20 steps.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def mesh_of(layout, devices=8):
    explicit = layout == Layout.explicit
    return jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(AxisType.Explicit if explicit else AxisType.Auto,),
        devices=jax.devices()[:devices],
    )


@pytest.fixture(scope="module")
def on_one_device():
    return jax.device_get(train(TX, Layout.data, mesh_of(Layout.data, 1), STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("layout", Layout)
def test_trajectory_is_that_of_one_device(layout, on_one_device):
    params, state = train(TX, layout, mesh_of(layout), STEPS)
    for leaf, w in params.items():
        anchor, moment = state[-1].anchor[leaf], state[0][0].mu[leaf]
        assert anchor.sharding.is_equivalent_to(moment.sharding, w.ndim)
        assert w.sharding.is_fully_replicated == (layout in {"data", "zero1"})
        assert anchor.sharding.is_fully_replicated == (layout == Layout.data)
    chex.assert_trees_all_close(
        jax.device_get((params, state)), on_one_device, **ROUNDING
    )


@pytest.mark.slow  # 16 pairs of programs
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", ["trsgd", "tradam", "trsgdw", "tradamw"])
def test_update_has_no_collective(layout, name):
    """Of its own: those of a whole step are those of plain Adam or SGD.

    With momentum: the updates of a sharded state are gathered to whole params in zero1,
    and SGD without one has no state to shard.
    """
    plain = optax.adamw if "adam" in name else optax.sgd
    collectives = []
    for factory in (getattr(prox_optax, name), plain):
        tx = factory(1e-2, 0.9)
        mesh = mesh_of(layout)
        target = placed(jax.eval_shape(partial(init, tx)), layout, mesh)
        images, *_ = digits.load()
        shardings = jax.tree.map(lambda x: x.sharding, target)
        with jax.set_mesh(mesh):
            update = jax.jit(tx.update).lower(target[0], target[1], target[0])
            assert not re.findall(COLLECTIVES, str(update.compile().as_text()))
            step = jax.jit(partial(train_step, tx), out_shardings=(*shardings, None))
            whole = step.lower(*target, batch_at(0, images, mesh)).compile()
        found = re.findall(COLLECTIVES, str(whole.as_text()))
        collectives.append(collections.Counter(found))
    assert collectives[0] == collectives[1]
    assert collectives[0]


def start_two(folder, steps):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    command = f"""{sys.executable} {train_sharded.__file__} --cpus 4 --processes 2
        --coordinator localhost:{port} --checkpoints {folder} --steps {steps} --process
        """
    environment = {**os.environ, "XLA_FLAGS": ""}
    return [
        subprocess.Popen(
            [*command.split(), str(i)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def saved_steps(folder):
    """Orbax gives a folder its name when all of it is written."""
    return sorted(int(x.name) for x in folder.glob("*") if x.name.isdigit())


@pytest.mark.slow
def test_two_processes_one_killed_and_restarted(tmp_path):
    """Nothing is lost but the steps since the checkpoint, nor repeated before it."""
    folder = tmp_path / "run"
    first = start_two(folder, steps=100_000)
    try:
        deadline = time.monotonic() + 300
        while len(saved_steps(folder)) < 2 and time.monotonic() < deadline:
            assert first[0].poll() is None, first[0].communicate()[0]
            time.sleep(0.05)
    finally:
        first[1].kill()
        time.sleep(0.2)
        first[0].kill()
        for process in first:
            process.communicate()
    kept = saved_steps(folder)[-1]
    assert kept >= 10

    steps = kept + 5
    second = start_two(folder, steps)
    try:
        outputs = [process.communicate(timeout=300)[0] for process in second]
    finally:
        for process in second:
            process.kill()
            process.communicate()
    for process, output in zip(second, outputs, strict=True):
        assert process.returncode == 0, output
        assert f"step {kept} on 8 devices, fsdp" in output
    assert saved_steps(folder)[-1] == steps

    mesh = mesh_of(Layout.fsdp)
    target = placed(jax.eval_shape(partial(init, TX)), Layout.fsdp, mesh)
    with ocp.CheckpointManager(folder) as manager:
        restored = manager.restore(steps, args=ocp.args.StandardRestore(target))
    expected = train(TX, Layout.fsdp, mesh, steps)
    chex.assert_trees_all_close(restored, expected, **ROUNDING)
