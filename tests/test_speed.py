"""What is timed on a machine: the same work in every way, and files that go on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from typer.testing import CliRunner

from benchmarks import models, tasks
from benchmarks.__main__ import app
from benchmarks.experiments import speed as experiments
from benchmarks.speed import lanes, rows, run, steps, updates, ways
from benchmarks.traffic.methods import METHODS, PERIOD


def needs_torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("name", ["trsgd", "tradam"])
def test_the_loop_in_pytorch_makes_the_same_steps(name):
    """Over an anchor taken anew; float32 in another order of operations."""
    torch = needs_torch()
    rng = np.random.default_rng(0)
    w, *gs = rng.normal(size=(1 + PERIOD + 3, 5)).astype(np.float32)
    theirs, grad = torch.from_numpy(w.copy()), torch.zeros(5)
    step = updates.eager_update([theirs], [grad], name)
    tx, ours = METHODS[name].make(), jnp.asarray(w)
    state = tx.init(ours)
    for g in gs:
        grad.copy_(torch.from_numpy(g))
        step()
        moved, state = tx.update(jnp.asarray(g), state, ours)
        ours = optax.apply_updates(ours, moved)
    assert not np.allclose(ours, w, atol=1e-4)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "experiment", [experiments.RESNET_64, experiments.RESNET_16, experiments.LANGUAGE]
)
def test_the_networks_in_pytorch_have_as_many_parameters(experiment):
    needs_torch()
    from benchmarks.speed import eager_training

    model, inputs, labels = eager_training.network(experiment)
    assert len(inputs) == len(labels) == experiment.batch_sizes[0]
    theirs = sum(x.numel() for x in model.parameters())
    assert theirs == size(experiment.problem)


def size(problem):
    if isinstance(problem, tasks.Sampler):
        params, _ = problem.abstract()
    else:
        width = problem.channels[0]
        model = nnx.eval_shape(
            lambda: models.ResNet18(10, width=width, rngs=nnx.Rngs(0))
        )
        params = tasks.split_model(model)[1]
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 3])
def test_plain_convolutions_are_patches(side, stride):
    keys = jax.random.split(jax.random.key(0))
    images = jax.random.normal(keys[0], (2, 8, 8, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 4))
    np.testing.assert_allclose(
        models.plain(images, kernel, stride),
        models.patches(images, kernel, stride),
        atol=1e-5,  # 27 products each, in float32
    )


@pytest.mark.slow
def test_tiny_measures_all_and_goes_on(tmp_path, monkeypatch):
    words = tmp_path / "words.txt"
    words.write_text("to be or not to be, that is the question.\n" * 50)
    out = tmp_path / "out"
    command = ["speed", "--tiny", "--data-dir", str(words), "--out", str(out)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert (out / "table.md").read_text() in first.output
    names = {"updates": 2, "steps": 1, "ways": 4}
    measured = {name: rows.read(out / f"{name}.csv") for name in names}
    assert {name: len(found) for name, found in measured.items()} == names
    assert [row["way"] for row in measured["ways"]] == [
        *("lanes", "lanes", "processes", "PyTorch")
    ]
    for row in measured["updates"]:
        low, middle, high = (
            float(row[f"ours_to_bare{x}"]) for x in ("_low", "", "_high")
        )
        assert 0 < low <= middle <= high

    (out / "meta.json").unlink()
    for module, name in ((updates, "measure"), (steps, "measure"), (lanes, "speed")):
        monkeypatch.setattr(module, name, None)  # not to be called
    again = CliRunner().invoke(app, [*command, "--resume"])
    assert again.exit_code == 0, again.output
    assert {name: rows.read(out / f"{name}.csv") for name in names} == measured


def test_missing_data_is_an_error_before_all_else(tmp_path):
    ran = CliRunner().invoke(app, ["speed", "--tiny", "--out", str(tmp_path)])
    assert ran.exit_code == 1
    assert "--data-dir" in ran.output
    assert not list(tmp_path.iterdir())


def test_every_way_is_named_once():
    for subject in run.PLAN.subjects:
        keys = [(way.name, way.runs) for way in ways.ways(subject, None)]
        assert len(set(keys)) == len(keys)
