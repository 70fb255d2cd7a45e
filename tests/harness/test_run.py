"""Commands, files, and a run that is killed and goes on."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.experiments import classify
from benchmarks.records import files, run_files
from benchmarks.runs import checkpoint, metric_rows
from benchmarks.runs.checkpoint import Position, State

FILES = {
    *("metrics.csv", "meta.json", "manifest.json"),
    *("table.md", "accuracy.png", "accuracy.svg"),
}

# Two programs of 20 epochs; a checkpoint after each, an evaluation after every third.
RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from benchmarks import experiments
from benchmarks.experiments import classify
from benchmarks.runs.execute import execute, prepare
tiny = experiments.tiny(classify.SENSITIVITY_DIGITS)
two = replace(
    tiny,
    groups=(("", ("sgd", "trsgd")),),
    contrasts=(),
    batch_sizes=(8,),
    epochs=20,
    evaluate_every=3,
)
resume = sys.argv[2:] == ["--resume"]
execute(prepare(two, "a test", Path(sys.argv[1]), resume=resume))
"""


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_run_then_report(tmp_path):
    ran = invoke("run", "demo", "--tiny", "--out", tmp_path)
    assert ran.exit_code == 0, ran.output
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == FILES
    events = list((tmp_path / "tensorboard").glob("batch 8/trsgd/events.*"))
    assert [path.stat().st_size > 500 for path in events] == [True]
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert tuple(metrics.columns) == metric_rows.columns(classify.DEMO)
    assert len(metrics) == 5 * 2 * 2
    for _, runs in metrics.groupby("optimizer"):
        tested = runs[runs.test_accuracy.notna()]
        assert tested.learning_rate.nunique() == 1
        assert len(tested) == 2
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert meta["command"] == "python -m benchmarks run demo --tiny"
    assert meta["data_source"] == "scikit-learn's digits"
    assert str(tmp_path) not in json.dumps(meta)

    drawn = {name: (tmp_path / name).read_bytes() for name in FILES}
    for name in ("table.md", "accuracy.png", "accuracy.svg"):
        (tmp_path / name).unlink()
    reported = invoke("report", "demo", "--out", tmp_path)
    assert reported.exit_code == 0, reported.output
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == drawn
    assert drawn["table.md"].decode() in reported.output
    assert drawn["table.md"].decode() in ran.output


def test_report_without_results_names_the_command(tmp_path):
    reported = invoke("report", "demo", "--out", tmp_path / "none")
    assert reported.exit_code == 1
    assert "python -m benchmarks run demo" in reported.output


def test_list_and_unknown_names():
    shown = invoke("list").output
    assert "demo: " in shown
    results = "results: benchmarks/results"
    assert f"{results}/paper-cifar10-controls-2-epochs, 33 runs on NVIDIA H100" in shown
    assert shown.count(f"{results}/paper-cifar10-15-epochs, ") == 1
    assert shown.count(f"{results}/demo, 300 runs on 2 CPU cores in ") == 1
    unknown = invoke("run", "dmeo")
    assert unknown.exit_code == 2
    assert re.search(r"there is: .*\bdemo\b", unknown.output)


COMMANDS = typer.main.get_group(app).commands


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_help_is_sentences(command):
    """A whole sentence each, that begins with what the command does."""
    helps = [command.help, *(option.help for option in command.params)]
    for text in helps:
        assert re.fullmatch(r"(?!An? |The )[A-Z][a-z]+ .*\.", text, re.DOTALL), text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.md"
    files.write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write(path, half)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def run_for(seconds, folder, *arguments):
    """Return the exit status, or None after a SIGKILL."""
    try:
        return subprocess.run(
            [sys.executable, "-c", RUN, str(folder), *arguments],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path):
    """SIGKILL at random moments, then --resume until it ends."""
    began = time.perf_counter()
    assert run_for(None, tmp_path / "undisturbed") == 0
    whole = time.perf_counter() - began

    moments = random.Random(0)
    folder = tmp_path / "killed"
    kills = 0
    status = run_for(0.3 * whole, folder)
    while status is None:
        kills += 1
        begun = (folder / "checkpoints/run.json").exists()
        seconds = moments.uniform(0.4, 1.0) * whole if kills < 4 else None
        status = run_for(seconds, folder, *(["--resume"] if begun else []))
    assert status == 0
    assert kills > 0

    metrics = [tmp_path / name / "metrics.csv" for name in ("undisturbed", "killed")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()
    rows = pd.read_csv(metrics[0])
    assert sorted(set(rows.epoch)) == [3, 6, 9, 12, 15, 18, 20]
    assert len(rows) == 7 * 2 * 2 * 2
    assert not (tmp_path / "killed/checkpoints").exists()


def test_a_half_written_checkpoint_is_ignored(tmp_path):
    lanes = {"w": classify.SENSITIVITY_DIGITS.seeds * pd.Series([1.0]).to_numpy()}
    checkpoint.start(tmp_path, {"name": "a"})
    checkpoint.save(tmp_path, State(Position(0, 3), "", {}), lanes)
    half = files.temporary(tmp_path / "checkpoints/0-7-0")
    half.mkdir()
    (half / "d").write_text("half")
    assert checkpoint.position(tmp_path, {"name": "a"}) == Position(0, 3)
    assert checkpoint.load(tmp_path, Position(0, 3), lanes)["w"].tolist() == [5.0]


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    checkpoint.start(tmp_path, {"name": "a", "seeds": 5})
    with pytest.raises(ValueError, match=r"another one:\n  seeds: 5 there, 3 here\n"):
        checkpoint.position(tmp_path, {"name": "a", "seeds": 3})


def test_the_difference_is_named_down_to_the_number(tmp_path):
    checkpoint.start(tmp_path, {"experiment": {"seeds": 5, "epochs": 2}})
    with pytest.raises(
        ValueError, match=r"one:\n  experiment.seeds: 5 there, 3 here\n"
    ):
        checkpoint.position(tmp_path, {"experiment": {"seeds": 3, "epochs": 2}})


def test_a_field_that_has_its_usual_value_here_is_compared(tmp_path):
    checkpoint.start(tmp_path, {"experiment": {"seeds": 5, "cosine": True}})
    with pytest.raises(ValueError, match=r"experiment.cosine: True there, None here\n"):
        checkpoint.position(tmp_path, {"experiment": {"seeds": 5}})


@pytest.mark.slow
def test_epochs_scale_the_run(tmp_path):
    ran = invoke("run", "demo", "--tiny", "--epochs", 1, "--out", tmp_path)
    assert ran.exit_code == 0, ran.output
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert meta["command"] == "python -m benchmarks run demo --tiny --epochs 1"
    assert set(pd.read_csv(tmp_path / "metrics.csv").epoch) == {1}


def test_an_unfinished_run_is_not_overwritten(tmp_path):
    checkpoint.start(tmp_path, {"name": "a"})
    again = invoke("run", "demo", "--tiny", "--out", tmp_path)
    assert again.exit_code == 1
    assert "unfinished run: go on with it by --resume" in again.output


def test_half_removed_checkpoints_are_nobodys(tmp_path, monkeypatch):
    """A kill while the files of a finished run are removed."""
    checkpoint.start(tmp_path, {"name": "a"})
    checkpoint.save(tmp_path, State(Position(3, 5), "", {}), {"w": np.ones(1)})
    run_files.write_run(tmp_path, "a,b\n", {"name": "a"})
    monkeypatch.setattr(files, "discard", lambda path: None)
    checkpoint.finish(tmp_path)
    assert checkpoint.saved(tmp_path) == [Position(3, 5)]
    assert checkpoint.position(tmp_path, {"name": "a"}) is None


def test_report_without_any_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reported = invoke("report")
    assert reported.exit_code == 1
    assert "No results in results" in reported.output


def test_report_of_all_results_goes_on_after_a_damaged_one(tmp_path, monkeypatch):
    """One that is not finished has no meta.json yet, and is left alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/c-unfinished").mkdir(parents=True)
    (tmp_path / "results/c-unfinished/metrics.csv").write_text("epoch\n")
    for name in ("a", "b"):
        run_files.write_run(tmp_path / "results" / name, "epoch\n", {"name": name})
    reported = invoke("report")
    assert reported.exit_code == 1
    assert "a/metrics.csv is damaged" in reported.output
    assert "b/metrics.csv is damaged" in reported.output
    assert "unfinished" not in reported.output


def test_resume_without_a_run_and_of_a_finished_one(tmp_path):
    nothing = invoke("run", "demo", "--tiny", "--resume", "--out", tmp_path)
    assert nothing.exit_code == 1
    assert "Start it without --resume." in nothing.output
    configuration = {"name": "a"}
    run_files.write_run(tmp_path, "a,b\n", configuration)
    assert checkpoint.position(tmp_path, configuration) is None
