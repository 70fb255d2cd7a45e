"""Replicas on many devices: the same bits on a CPU; checkpoints that fit any number.

The oracle is the run on one device.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import small_run
from faults import Stop, files_of

from benchmarks import experiments
from benchmarks.experiments import classify
from benchmarks.records import origin
from benchmarks.runs import grid, hosts, placement, program, weights
from benchmarks.runs.execute import execute, prepare
from benchmarks.runs.trainer import Trainer

ROOT = Path(__file__).parents[2]
# 5 seeds, 13 trials in blocks of 7: neither the trials nor the blocks come out even.
MANY = replace(
    small_run.SMALL,
    name="many",
    seeds=5,
    learning_rates=experiments.log_grid(-3, -1, per_decade=6),
)


def cpus(number):
    return jax.devices("cpu")[:number]


def run(experiment, folder, devices, deadline=None):
    resume = (folder / "checkpoints").exists()
    prepared = prepare(experiment, "a test", folder, resume=resume)
    return execute(prepared, deadline, cpus(devices))


def results(folder):
    """Return the rows and the weights."""
    found = weights.load(folder, small_run.Line().abstract())
    kept = {
        name: [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]
        for name, tree in found.items()
    }
    return (folder / "metrics.csv").read_bytes(), kept


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    assert run(MANY, folder, 1)
    assert json.loads((folder / "meta.json").read_text())["devices"] == 1
    return results(folder)


@pytest.mark.parametrize(("devices", "used"), [(2, 2), (3, 3), (4, 4), (8, 5)])
def test_the_rows_are_the_same_on_any_number_of_devices(
    on_one, tmp_path, devices, used
):
    """10 blocks: in 5, 4 and 3 rounds, and in 2 rounds of 5 devices."""
    assert run(MANY, tmp_path / "run", devices)
    assert results(tmp_path / "run") == on_one
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    assert meta["devices"] == used


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 8)])
@pytest.mark.parametrize("asks", [4, 9], ids=["in an epoch", "in the other program"])
def test_a_checkpoint_goes_on_on_other_devices(on_one, tmp_path, before, after, asks):
    folder = tmp_path / "run"
    assert not run(MANY, folder, before, Stop(asks))
    assert run(MANY, folder, after)
    assert results(folder) == on_one


def test_a_checkpoint_has_no_padding(tmp_path):
    trainer = Trainer(MANY, MANY.problem.load(None), cpus(3))
    trainer.build(0, tuple(range(13)))
    trainer.start()
    lanes = trainer.fetch()
    assert {x.shape[:2] for x in jax.tree.leaves(lanes)} == {(5, 13)}
    assert jax.tree.map(np.shape, lanes) == jax.tree.map(
        lambda x: x.shape, trainer.built.like
    )


@pytest.mark.slow
def test_a_network_trains_to_the_same_bits(tmp_path):
    """Convolutions, matmuls and reductions of digits, on 1, 2 and 8 devices."""
    few = replace(
        experiments.tiny(classify.DEMO),
        groups=(("", ("sgd", "trsgdw")),),
        learning_rates=experiments.log_grid(-2, -1, per_decade=12),
        seeds=3,
        epochs=1,
    )
    rows = []
    for devices in (1, 2, 8):
        assert run(few, tmp_path / str(devices), devices)
        rows.append((tmp_path / str(devices) / "metrics.csv").read_bytes())
    assert rows == rows[:1] * 3


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("trials", [1, 2, 10, 11, 23])
@pytest.mark.parametrize("devices", [1, 2, 3, 8])
def test_every_replica_is_in_a_round(seeds, trials, devices):
    rates = tuple(0.1 + np.arange(trials))
    placed = placement.place(
        replace(MANY, seeds=seeds, learning_rates=rates), cpus(devices)
    )
    there = np.zeros((seeds, trials), bool)
    for each in placed.rounds:
        assert len(each.seeds) == placed.mesh.size * placed.block[0]
        assert len(each.trials) == placed.mesh.size * placed.block[1]
        there[each.where] = True
    assert there.all()
    blocks = seeds * -(-trials // placed.block[1])
    assert len(placed.rounds) == -(-blocks // min(devices, blocks))


@pytest.mark.parametrize(("at_once", "trials"), [(1, 1), (5, 5), (10, 7), (100, 13)])
def test_a_core_trains_as_many_at_once_as_fit_its_caches(at_once, trials):
    """The 13 trials are in equal blocks, of one seed."""
    placed = placement.place(replace(MANY, at_once=at_once), cpus(2))
    assert placed.block == (1, trials)


def test_what_is_spread_comes_back():
    placed = placement.place(MANY, cpus(3))
    whole = np.arange(5 * 13 * 2).reshape(5, 13, 2)
    np.testing.assert_array_equal(placed.fetch(placed.spread(whole)), whole)
    one = placed.with_one_trial()
    np.testing.assert_array_equal(one.fetch(one.spread(whole[:, 3:4])), whole[:, 3:4])


@pytest.mark.parametrize(
    ("seeds", "trials", "devices", "block"),
    [
        (5, 19, 1, (5, 19)),
        (3, 1, 8, (1, 1)),
        (5, 1, 4, (2, 1)),
        (5, 10, 8, (3, 3)),
        (2, 19, 2, (1, 19)),
    ],
)
def test_a_gpu_trains_its_share_at_once(seeds, trials, devices, block):
    """Nothing is left to a second round; no fewer replicas a device would do."""
    assert placement.largest_block(seeds, trials, devices) == block


def test_the_memory_of_a_cpu_is_shared_by_its_devices():
    assert program.device_memory(4) == program.device_memory(1) // 4


def test_memory_is_counted_for_one_device(monkeypatch):
    """With its share of the replicas, of all rounds."""
    limits = []
    monkeypatch.setattr(program, "device_memory", lambda sharing: 10_000_000 // sharing)
    monkeypatch.setattr(program, "compile_to_fit", lambda *args: limits.append(args))
    (which, _) = grid.programs(MANY)
    data_set = MANY.problem.load(None)
    for devices in (1, 4):
        placed = placement.place(MANY, cpus(devices))
        built = program.build(MANY, data_set, which, placed)
        _, trials, limit = limits[-1]
        assert trials == 7
        block = 7 * program.nbytes(built.like) / (5 * 13)
        share = 0.8 * (10_000_000 // devices) - (len(placed.rounds) - 1) * block
        assert limit == pytest.approx(share)


def test_a_cpu_has_a_device_for_each_core_if_nothing_else_was_set(monkeypatch):
    """The tests' own flag is such a setting."""
    asked = []
    monkeypatch.setattr(jax.config, "update", lambda *setting: asked.append(setting))
    hosts.fill_cores()
    assert asked == []
    monkeypatch.setenv("XLA_FLAGS", "--another_flag")
    hosts.fill_cores()
    assert asked == [("jax_num_cpu_devices", origin.cores())]


def test_a_process_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="--process 2/2: write 0/2 and 1/2"):
        hosts.join("localhost:1", "2/2")


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def command(folder, port, process, *arguments):
    """Run the small experiment as one of two processes, on one device in each."""
    script = ROOT / "tests/harness/small_run.py"
    together = ("--coordinator", f"localhost:{port}", "--process", f"{process}/2")
    return subprocess.Popen(
        [
            sys.executable,
            script,
            "run",
            "small",
            "--out",
            folder,
            *together,
            *arguments,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path)}
        | {"XLA_FLAGS": "", "JAX_NUM_CPU_DEVICES": "1"},
    )


def together(folder, *arguments, stop=False):
    """Return the statuses of both processes and what each wrote."""
    port = free_port()
    both = [command(folder, port, process, *arguments) for process in (0, 1)]
    try:
        if stop:
            assert any("reading the data" in line for line in both[0].stdout)
            both[0].send_signal(signal.SIGTERM)
        said = [each.communicate(timeout=200)[0] for each in both]
    finally:
        for each in both:
            each.kill()
            each.stdout.close()
            each.wait()
    return [each.returncode for each in both], said


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert run(small_run.SMALL, folder, 1)
    return results(folder)


@pytest.mark.slow
def test_two_processes_run_one_experiment(alone, tmp_path):
    """The first one writes; the other one shows nothing and writes nothing."""
    folder = tmp_path / "run"
    statuses, (first, other) = together(folder)
    assert statuses == [0, 0], first + other
    assert results(folder) == alone
    assert json.loads((folder / "meta.json").read_text())["devices"] == 2
    assert "run-step" in first
    assert "run-step" not in other
    assert "Files in" not in other
    assert not [name for name in files_of(folder) if name.startswith("checkpoints")]


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on(alone, tmp_path):
    folder = tmp_path / "run"
    statuses, said = together(folder, stop=True)
    assert statuses == [128 + signal.SIGTERM, 0], said
    assert run(small_run.SMALL, folder, 1)
    assert results(folder) == alone


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_the_other(tmp_path):
    (tmp_path / "run").write_text("a file")
    statuses, (first, _) = together(tmp_path / "run")
    assert statuses == [1, 0]
    assert "cannot be a folder" in first
