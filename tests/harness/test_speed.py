"""What is timed on a machine: the same work in every way, and files that go on."""

import json
import queue
import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from typer.testing import CliRunner

from benchmarks import models
from benchmarks.__main__ import app
from benchmarks.costs import measurements, timing
from benchmarks.costs.speed import plan as speed_plan
from benchmarks.costs.speed import processes, replicas, steps, updates
from benchmarks.costs.traffic.updates import COUNTED, PERIOD
from benchmarks.experiments import speed as experiments
from benchmarks.tasks import classify


def needs_torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("name", ["trsgd", "tradam"])
def test_the_loop_in_pytorch_makes_the_same_steps(name):
    """Over an anchor taken anew; float32 in another order of operations."""
    torch = needs_torch()
    rng = np.random.default_rng(0)
    w, *gs = rng.normal(size=(1 + PERIOD + 3, 5)).astype(np.float32)
    theirs, grad = torch.from_numpy(w.copy()), torch.zeros(5)
    step = updates.pytorch_update([theirs], [grad], name)
    tx, ours = COUNTED[name].make(), jnp.asarray(w)
    state = tx.init(ours)
    for g in gs:
        grad.copy_(torch.from_numpy(g))
        step()
        moved, state = tx.update(jnp.asarray(g), state, ours)
        ours = optax.apply_updates(ours, moved)
    assert not np.allclose(ours, w, atol=1e-4)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5, atol=1e-6)


def torch_name(path):
    """Of a leaf of ours: blocks.1.conv3.kernel is 4.shortcut.0.weight there."""
    name = ".".join(str(key.key) for key in path)
    kept = {"conv.kernel": "0.weight", "norm.scale": "1.weight", "norm.bias": "1.bias"}
    if name in kept:
        return kept[name]
    name = re.sub(r"^blocks\.(\d+)", lambda m: str(3 + int(m[1])), name)
    name = name.replace("conv3", "shortcut.0").replace("norm3", "shortcut.1")
    name = name.replace("head.", "13.")
    return re.sub(r"(kernel|scale)$", "weight", name)


def test_the_residual_network_in_pytorch_is_ours():
    """The same logits of a batch in training, from the same weights."""
    torch = needs_torch()
    from benchmarks.costs.pytorch import models as pytorch_models

    ours = models.ResNet18(10, width=8, rngs=nnx.Rngs(0))
    theirs = pytorch_models.resnet18(8)
    params = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    with torch.no_grad():
        named = dict(theirs.named_parameters())
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            value = np.array(leaf)
            order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
            named.pop(torch_name(path)).copy_(torch.from_numpy(value.transpose(order)))
    assert not named
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    found = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    # float32, sums of up to 576 products in 17 layers, each normalised
    np.testing.assert_allclose(found.detach(), ours(images), rtol=1e-3, atol=1e-3)


def test_the_transformer_in_pytorch_is_ours():
    """The same logits, from the same weights."""
    torch = needs_torch()
    from benchmarks.costs.pytorch import models as pytorch_models

    numbers = experiments.LANGUAGE.problem
    ours = numbers.network(nnx.Rngs(0))
    theirs = pytorch_models.Transformer(numbers.shape, numbers.context)
    params = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    with torch.no_grad():
        named = dict(theirs.named_parameters())
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            name = ".".join(str(key.key) for key in path)
            value = np.array(leaf)
            value = value.T if name.endswith("kernel") else value
            name = re.sub(r"(kernel|scale|embedding)$", "weight", name)
            named.pop(name).copy_(torch.from_numpy(value.copy()))
    assert not named
    text = np.random.default_rng(0).integers(256, size=(2, numbers.context))
    found = theirs(torch.from_numpy(text))
    np.testing.assert_allclose(found.detach(), ours(jnp.asarray(text)), atol=1e-4)


@pytest.mark.parametrize(
    ("experiment", "rate"),
    [(experiments.RESNET_64, 0.1), (experiments.LANGUAGE, 0.0003)],
)
def test_training_in_pytorch_takes_the_same_numbers(experiment, rate):
    needs_torch()
    from benchmarks.costs.pytorch import training

    model, inputs, labels = training.network(experiment)
    assert len(inputs) == len(labels) == experiment.batch_sizes[0]
    optimizer = training.first_optimizer(experiment, model)
    assert optimizer.defaults["lr"] == rate
    assert optimizer.defaults["weight_decay"] == experiment.settings.weight_decay


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 3])
def test_plain_convolutions_are_patches(side, stride):
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (2, 8, 8, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 4))
    np.testing.assert_allclose(
        models.convolve_by_xla(images, kernel, stride),
        models.convolve_by_patches(images, kernel, stride),
        atol=1e-5,  # 27 products each, in float32
    )


def not_to_be_called(*arguments):
    raise AssertionError(arguments)


@pytest.mark.slow
def test_tiny_measures_all_and_goes_on(tmp_path, monkeypatch):
    words = tmp_path / "words.txt"
    words.write_text("to be or not to be, that is the question.\n" * 50)
    out = tmp_path / "out"
    command = ["speed", "--tiny", "--data-dir", str(words), "--out", str(out)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert (out / "table.md").read_text() in first.output
    has_torch = updates.has_torch()
    names = {"updates": 2, "steps": 1, "ways": 5 if has_torch else 3}
    measured = {name: measurements.read(out / f"{name}.csv") for name in names}
    assert {name: len(found) for name, found in measured.items()} == names
    assert [row["way"] for row in measured["ways"]] == [
        *("lanes", "lanes", "processes"),
        *(["PyTorch", "PyTorch, processes"] if has_torch else []),
    ]
    for module, name in ((updates, "measure"), (steps, "measure"), (replicas, "speed")):
        monkeypatch.setattr(module, name, not_to_be_called)
    again = CliRunner().invoke(app, [*command, "--resume"])
    assert again.exit_code == 0, again.output
    assert {name: measurements.read(out / f"{name}.csv") for name in names} == measured


def test_missing_data_is_an_error_before_all_else(tmp_path):
    ran = CliRunner().invoke(app, ["speed", "--tiny", "--out", str(tmp_path)])
    assert ran.exit_code == 1
    assert "--data-dir" in ran.output
    assert not list(tmp_path.iterdir())


def test_what_was_measured_elsewhere_is_not_gone_on_with(tmp_path):
    plan = speed_plan.tiny()._replace(trees={}, whole=(), subjects=())
    with pytest.raises(FileNotFoundError, match="leave out --resume"):
        speed_plan.run(plan, tmp_path, None, resume=True)
    speed_plan.run(plan, tmp_path, None, resume=False)
    speed_plan.run(plan, tmp_path, None, resume=True)
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["versions"]["torch"] = "another"
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(
        ValueError, match=r"otherwise:\n  versions.torch: another there"
    ):
        speed_plan.run(plan, tmp_path, None, resume=True)


def test_units(monkeypatch):
    """Turns of 1, 2 and 6 s: 10 updates, or 20 steps of batch 8, a call."""
    turns = [(1.0, 2.0, 6.0)]
    monkeypatch.setattr(timing, "interleaved", lambda *works: turns)
    monkeypatch.setattr(updates, "has_torch", lambda: True)
    monkeypatch.setattr(updates, "pytorch_loop", lambda tree, ours: None)
    tree = {"w": jax.ShapeDtypeStruct((2, 3), jnp.float32)}
    found = updates.measure(tree, "sgd")
    times = {key: float(x) for key, x in found.items() if key.endswith("_ms")}
    assert times == {"bare_ms": 100, "ours_ms": 200, "torch_ms": 600}
    assert found["parameters"] == "6"
    assert (found["ours_to_bare"], found["torch_to_ours"]) == ("2.000", "3.000")

    work = replicas.Training(lambda: None, 320, 160, 20, 5.0)
    monkeypatch.setattr(replicas, "compile_training", lambda one, data_set: work)
    turns[:] = [(4.0,)]
    assert replicas.speed(work)["examples_a_second"] == "80.0"
    turns[:] = [(4.0, 5.0)]
    whole = steps.measure(experiments.RESNET_64, None)
    assert (whole["bare_ms"], whole["ours_ms"]) == ("200.000", "250.000")
    assert whole["ratio"] == "1.250"


def test_the_examples_of_a_call_are_those_of_all_replicas(monkeypatch):
    """2 seeds of 20 steps of 8, of an epoch of 160."""
    built = SimpleNamespace(start=None, advance=None, seconds=5.0)
    monkeypatch.setattr(replicas.program, "build", lambda *args: built)
    data_set = SimpleNamespace(train=SimpleNamespace(labels=range(160)))
    two = replicas.several(experiments.RESNET_64, "sgd", 2)
    work = replicas.compile_training(two, data_set)
    assert work[1:] == (320, 160, 20, 5.0)


def test_a_process_that_fails_ends_the_waiting():
    running, failed = SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=1)
    found = queue.Queue()
    found.put([8.0])
    assert processes.next_of(found, [running, running]) == [8.0]
    found.put([8.0])
    with pytest.raises(RuntimeError, match="has failed"):
        processes.next_of(found, [running, failed])


@pytest.mark.parametrize(
    ("part", "steps", "timed"),
    [
        (1, 16, range(16)),
        (4, 16, range(0, 16, 4)),
        (None, 16, range(0, 16, 16)),
        (10, 60, range(0, 20, 10)),
        (None, 60, range(0, 60, 60)),
    ],
)
def test_parts_of_25_steps_together_are_timed_at_once_or_one_part(part, steps, timed):
    data_set = SimpleNamespace(train=SimpleNamespace(labels=range(8 * steps)))
    one = replace(experiments.RESNET_64, part=part)
    assert replicas.timed_parts(one, data_set) == timed
    assert replicas.timed_steps(one, data_set) == len(timed) * timed.step


@pytest.mark.parametrize("experiment", [experiments.RESNET_64, experiments.RESNET_16])
def test_plain_convolutions_are_of_a_network_that_is_there(experiment):
    plain = experiments.with_plain_convolutions(experiment)
    assert plain.problem.network in classify.NETWORKS
