"""DiLoCo: the numbers of workers one by one, of a run that was never stopped.

The oracle trains one worker after the other on one device, by plain AdamW, and takes
the outer steps of Douillard et al. 2023 in NumPy float64.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import digits
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import train_diloco
from flax import nnx
from jax.sharding import AxisType
from train_diloco import BATCH, METHODS, PERIOD, RATE, compiled, init, rows_at, train

import prox_optax
from benchmarks.costs.traffic import hlo

WORKERS = 4
pytestmark = pytest.mark.usefixtures("cpu")  # a mesh takes four devices
EXAMPLES = Path(train_diloco.__file__).parent
# Float32 sums in another order. Adam divides a gradient near 0 by its own size, so the
# rounding grows: to 2.1e-5, where 40 steps of 3e-3 lead up to 0.12 away.
ROUNDING = 1e-4


def mesh_of_workers():
    devices = jax.devices("cpu")[:WORKERS]
    kinds = (AxisType.Auto,)
    return jax.make_mesh((WORKERS,), ("workers",), axis_types=kinds, devices=devices)


def parameters():
    return nnx.state(digits.Network(train_diloco.HIDDEN, nnx.Rngs(0)))


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def one_by_one(rounds):
    """Return the leaves of the slow weights, all that the workers share."""
    images, *_ = digits.load()
    shared = train_diloco.shares(images, WORKERS)
    params = parameters()
    structure, slow = jax.tree.structure(params), list(map(np.float64, leaves(params)))
    momentum = [np.zeros_like(a) for a in slow]
    tx = optax.adamw(RATE)
    states = [tx.init(params)] * WORKERS

    @jax.jit
    def step(params, state, batch):
        grads = jax.grad(digits.loss, 1)(train_diloco.GRAPH, params, batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for t in range(0, rounds * PERIOD, PERIOD):
        distances = []
        for i in range(WORKERS):
            params = jax.tree.unflatten(structure, [np.float32(a) for a in slow])
            for k in range(t, t + PERIOD):
                batch = [x[i][rows_at(k, 0, shared)[i]] for x in shared]
                params, states[i] = step(params, states[i], digits.Images(*batch))
            found = leaves(params)
            distances.append([a - w for a, w in zip(slow, found, strict=True)])
        ds = [np.mean(d, axis=0) for d in zip(*distances, strict=True)]
        momentum = [0.9 * m + d for m, d in zip(momentum, ds, strict=True)]
        moves = [0.7 * (d + 0.9 * m) for m, d in zip(momentum, ds, strict=True)]
        slow = [a - move for a, move in zip(slow, moves, strict=True)]
    return slow


def test_the_numbers_are_those_of_workers_one_by_one():
    """After two outer steps: the slow weights of all workers, who are there again."""
    (params, state), scores = train(METHODS["DiLoCo"], mesh_of_workers(), rounds=2)
    assert len(scores) == 2
    anchors = leaves(prox_optax.get_anchor(state, params))
    for expected, a, w in zip(one_by_one(2), anchors, leaves(params), strict=True):
        for of_worker in (*a, *w):
            np.testing.assert_allclose(of_worker, expected, rtol=0, atol=ROUNDING)
        assert (a == a[:1]).all()


def test_workers_have_images_of_their_own():
    images, *_ = digits.load()
    shared = train_diloco.shares(images, WORKERS)
    n = len(images.labels) // WORKERS
    np.testing.assert_array_equal(
        np.concatenate(shared.pixels), images.pixels[: n * WORKERS]
    )
    assert rows_at(3, 0, shared).shape == (WORKERS, BATCH)
    assert (rows_at(3, 0, shared) != rows_at(4, 0, shared)).any()


def test_bytes_are_those_of_the_compiled_programs():
    """Data-parallel sends all parameters each step, DiLoCo in an outer step alone."""
    mesh = mesh_of_workers()
    nbytes = sum(x.nbytes for x in leaves(parameters()))
    programs = {name: compiled(method, mesh) for name, method in METHODS.items()}
    counts = {name: train_diloco.sent(step) for name, step in programs.items()}
    assert counts == {"data-parallel": 100 * nbytes, "DiLoCo": 5 * nbytes}
    module = hlo.parse(programs["DiLoCo"].as_text())
    assert module.collectives(0) == set()
    assert module.collectives(1) == {"all-reduce"}
    text = (EXAMPLES / "results/train_diloco.md").read_text(encoding="utf-8")
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name, count in counts.items():
        assert f"- {name}: {count:,} bytes" in text
        assert f" {count:,}" in page


@pytest.mark.slow
def test_script_runs(tmp_path, capsys):
    assert train_diloco.__doc__.startswith("`python examples/train_diloco.py`: ")
    train_diloco.compare(mesh_of_workers(), 2, 2, tmp_path, tiny=True)
    text = (tmp_path / "train_diloco.md").read_text()
    assert text in capsys.readouterr().out
    for part in ("\n| data-parallel |", "\n| DiLoCo |", "To take away"):
        assert part in text
    rows = (tmp_path / "train_diloco.csv").read_text().splitlines()
    assert rows[0] == "table,method,seed,split,score"
    assert len(rows) == 1 + 2 * 2
    assert (tmp_path / "train_diloco.png").stat().st_size > 10_000


def test_a_run_goes_on_where_it_is_told_to(tmp_path, capsys):
    """The last line is that of a run of as many steps; nothing is written over."""
    mesh, parts, whole = mesh_of_workers(), tmp_path / "parts", tmp_path / "whole"
    train_diloco.train_one(mesh, 1, parts, resume=False)
    with pytest.raises(SystemExit, match=f"holds step {PERIOD}: write --resume"):
        train_diloco.train_one(mesh, 2, parts, resume=False)
    train_diloco.train_one(mesh, 2, parts, resume=True)
    *_, last = capsys.readouterr().out.splitlines()
    train_diloco.train_one(mesh, 2, whole, resume=True)
    assert last.startswith(f"step {2 * PERIOD}: ")
    assert capsys.readouterr().out.splitlines()[-1] == last


# ----------------------------------------------------------------- two processes


def start_two(folder, rounds, *options):
    """Start two processes of two devices each."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    command = f"""{sys.executable} {train_diloco.__file__} --cpus 2 --rounds {rounds}
        --coordinator localhost:{port} --checkpoints {folder} --process"""
    return [
        subprocess.Popen(
            [*command.split(), f"{i}/2", *options],
            env={
                **os.environ,
                **{"XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def finish(both):
    """Return what each of two processes wrote, which have to succeed."""
    try:
        outputs = [process.communicate(timeout=600)[0] for process in both]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert [process.returncode for process in both] == [0, 0], outputs
    return outputs


def saved_steps(folder):
    """Orbax gives a folder its name when all of it is written."""
    return sorted(int(x.name) for x in folder.glob("*") if x.name.isdigit())


def restored(folder, step):
    like = init(METHODS["DiLoCo"].tx, mesh_of_workers(), 1)
    with ocp.CheckpointManager(folder) as manager:
        return leaves(manager.restore(step, args=ocp.args.StandardRestore(like)))


@pytest.mark.slow
def test_two_processes_one_killed_and_restarted(tmp_path):
    """They end with the bits of two processes that nothing stopped."""
    folder = tmp_path / "run"
    first = start_two(folder, 100_000)
    try:
        deadline = time.monotonic() + 600
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
    assert kept % PERIOD == 0

    rounds = kept // PERIOD + 2
    resumed = finish(start_two(folder, rounds, "--resume"))
    whole = finish(start_two(tmp_path / "whole", rounds))
    step = rounds * PERIOD
    assert all(f"step {kept}, {WORKERS} workers" in output for output in resumed)
    lines = "".join(resumed + whole).splitlines()
    assert len({line for line in lines if f"step {step}:" in line}) == 1

    found, expected = (restored(x, step) for x in (folder, tmp_path / "whole"))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)
