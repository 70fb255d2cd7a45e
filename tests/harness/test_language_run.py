"""The language task through the commands: a run, its kill, its weights, its text."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from typer.testing import CliRunner

from benchmarks import experiments
from benchmarks.__main__ import app
from benchmarks.experiments.language import LANGUAGE
from benchmarks.records import run_files
from benchmarks.report import tables
from benchmarks.runs import checkpoint, weights
from benchmarks.runs.execute import execute, prepare
from benchmarks.tasks.classify import Images
from benchmarks.tasks.language import Text, continuation
from benchmarks.tasks.problem import Request, Sampler

pytestmark = pytest.mark.slow  # runs of the command

# One program of two epochs, a checkpoint after the first.
SMALL = replace(
    experiments.tiny(LANGUAGE),
    groups=(("", ("tradam",)),),
    contrasts=(),
    batch_sizes=(4,),
)


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text("to be or not to be, that is the question.\n" * 50)
    return path


def run_into(folder, data, resume=False):
    execute(prepare(SMALL, "a test", folder, resume=resume, data_dir=data))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    run_into(folder, data)
    return folder


def test_a_run_is_scored_in_bits_per_byte(finished):
    metrics = pd.read_csv(finished / "metrics.csv")
    assert tuple(metrics.columns) == (
        *run_files.run_columns(),
        *("train_loss", "train_bits_per_byte"),
        *("validation_loss", "validation_bits_per_byte"),
        *("test_loss", "test_bits_per_byte"),
        "diverged",
    )
    mean = metrics.groupby("trial").validation_bits_per_byte.mean()
    tested = metrics[metrics.test_loss.notna()]
    assert set(tested.trial) == {mean.idxmin()}  # the lowest is the best
    assert (metrics.validation_bits_per_byte < 8).all()
    text = tables.report(finished, "it")
    assert "test bits per byte" in text
    assert "| frequencies after the last byte " in text
    assert "lowest mean validation bits per byte" in text
    assert (finished / "bits_per_byte.png").is_file()
    meta = json.loads((finished / "meta.json").read_text(encoding="utf-8"))
    assert meta["score"]["name"] == "bits_per_byte"
    assert meta["experiment"]["context"] == 16


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(
    finished, data, tmp_path, monkeypatch
):
    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run_into(tmp_path, data)
    monkeypatch.undo()
    run_into(tmp_path, data, resume=True)
    files = [folder / "metrics.csv" for folder in (finished, tmp_path)]
    assert files[0].read_bytes() == files[1].read_bytes()
    like = SMALL.problem.abstract()
    kept = [weights.load(folder, like) for folder in (finished, tmp_path)]
    jax.tree.map(np.testing.assert_array_equal, *kept)


def test_the_weights_are_those_that_were_tested(finished, data):
    ((name, (params, stats)),) = weights.load(
        finished, SMALL.problem.abstract()
    ).items()
    assert name == "batch 4, tradam"
    data_set = SMALL.problem.load(data)
    task = SMALL.problem.task(data_set, 1)
    found = jax.jit(task.evaluate)(params, stats, data_set.test)
    metrics = pd.read_csv(finished / "metrics.csv")
    first = metrics[metrics.test_loss.notna() & (metrics.seed == 0)]
    # float32, another order of sums; the file has 6 decimals
    np.testing.assert_allclose(found["loss"], first.test_loss.item(), rtol=1e-5)


def test_text_is_written_from_the_weights(finished):
    def sample(*arguments):
        made = invoke("sample", "language", "--tiny", "--out", finished, *arguments)
        assert made.exit_code == 0, made.output
        path = finished / "samples/batch 4, tradam.txt"
        assert path.name in made.output
        return path.read_bytes()

    first = sample("--length", 20, "--prompt", "to be")
    assert len(first) == 25
    assert first.startswith(b"to be")
    assert sample("--length", 20, "--prompt", "to be") == first
    assert sample("--length", 20, "--prompt", "to be", "--seed", 1) != first
    empty = invoke("sample", "language", "--tiny", "--out", finished, "--prompt", "")
    assert empty.exit_code == 1
    assert "An empty prompt" in empty.output


def test_at_temperature_0_every_byte_is_the_most_probable(tmp_path):
    """The oracle is a loop that shows the network the last bytes as they are."""
    numbers = Text(shape="tiny", context=5, windows=1, dtype="float32")
    model = numbers.network(nnx.Rngs(2))
    text, forward = list(b"ab"), jax.jit(lambda window: model(window))
    for _ in range(8):
        logits = forward(jnp.asarray(text[-5:])[None])[0, -1]
        text.append(int(logits.argmax()))
    params = nnx.split(model, nnx.Param)[1]
    request = Request(tmp_path, None, 0, "ab", length=8, temperature=0)
    made = continuation(numbers, params, b"ab", request, jax.random.key(0))
    assert list(made) == text[2:]


def test_what_cannot_be_sampled_says_so(tmp_path):
    none = invoke("sample", "language", "--tiny", "--out", tmp_path)
    assert none.exit_code == 1
    assert "No weights in" in none.output
    assert "python -m benchmarks run language --tiny" in none.output
    images = invoke("sample", "demo", "--out", tmp_path)
    assert images.exit_code == 2
    assert "nothing to sample" in images.output
    assert not issubclass(Images, Sampler)


def test_no_text_is_an_error_of_the_command(tmp_path):
    ran = invoke("run", "language", "--tiny", "--out", tmp_path)
    assert ran.exit_code == 1
    assert "--data-dir FILE" in ran.output
