"""Runs that stop after so many minutes and go on, on whatever machine.

The oracle is a run that nothing stopped: what goes on ends with its bytes.
"""

import json
import math
import shlex
import shutil
import time
from dataclasses import replace

import pytest
import small_run
from faults import *  # noqa: F403
from faults import PARTS_UNTIL_HALF, Stop, invoke, numbers_of

import benchmarks.__main__ as commands
from benchmarks import experiments
from benchmarks.records import run_files
from benchmarks.runs import checkpoint, deadline
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare
from benchmarks.runs.trainer import Trainer

SMALL = small_run.SMALL
NOT_SAVED = replace(SMALL, name="not saved", save_every=math.inf)
STAGED = replace(NOT_SAVED, name="staged", seeds=3, tuning_seeds=1)
PARTS = 6  # of a program


@pytest.fixture
def stop_after(known, monkeypatch):
    """Let the next command's deadline come when it was asked so often."""
    monkeypatch.setitem(experiments.EXPERIMENTS, NOT_SAVED.name, NOT_SAVED)

    def stop(asks):
        monkeypatch.setattr(commands, "Deadline", lambda at: Stop(asks))

    return stop


def run(folder, *arguments, name="small"):
    return invoke("run", name, "--out", folder, "--minutes", 9, *arguments)


def test_a_command_ends_before_its_minutes():
    """Less 20 seconds for imports and tables, of which few minutes give a tenth."""
    assert deadline.moment(1000, 9) == 1000 + 9 * 60 - 20
    assert deadline.moment(1000, 0.5) == 1000 + 27
    assert deadline.moment(1000, None) == math.inf


@pytest.mark.usefixtures("known")
def test_minutes_that_suffice(undisturbed, tmp_path):
    ran = run(tmp_path / "run")
    assert ran.exit_code == 0, ran.output
    assert "Stopped" not in ran.output
    assert numbers_of(tmp_path / "run") == undisturbed
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    assert meta["command"] == "python -m benchmarks run small"


def test_a_stop_goes_on_by_the_command_that_is_told(stop_after, undisturbed, tmp_path):
    """Between the two programs: a copy of the folder goes on elsewhere."""
    stop_after(1 + PARTS)
    stopped, elsewhere = tmp_path / "a run", tmp_path / "elsewhere"
    ran = run(stopped)
    assert ran.exit_code == 0, ran.output
    where = "Stopped in time after epoch 0 of 3, program 2 of 2."
    command = f"run small --out '{stopped}' --minutes 9 --resume"
    assert f"{where} Go on with: python -m benchmarks {command}\n" in ran.output
    shutil.copytree(stopped, elsewhere)
    stop_after(1000)
    for arguments in (shlex.split(command), ("run", "small", "--resume")):
        out = () if "--out" in arguments else ("--out", elsewhere)
        assert invoke(*arguments, *out).exit_code == 0
    assert numbers_of(stopped) == numbers_of(elsewhere) == undisturbed


def test_minutes_that_save_nothing(stop_after, undisturbed, tmp_path):
    none = invoke("run", "small", "--out", tmp_path, "--minutes", 0)
    assert none.exit_code == 1
    assert "Nothing was saved: give more --minutes. Go on with: " in none.output
    stop_after(1000)
    assert run(tmp_path, "--resume").exit_code == 0
    assert numbers_of(tmp_path) == undisturbed


def names_in(folder):
    return {path.name for path in folder.rglob("*")}


def test_a_program_whose_networks_are_not_saved_begins_anew(
    stop_after, undisturbed, tmp_path
):
    stop_after(PARTS)
    vain = run(tmp_path, name=NOT_SAVED.name)
    assert vain.exit_code == 1
    assert "Nothing was saved: give more --minutes." in vain.output
    assert checkpoint.saved(tmp_path) == []
    stop_after(PARTS_UNTIL_HALF)
    half = run(tmp_path, "--resume", name=NOT_SAVED.name)
    assert half.exit_code == 0, half.output
    assert "after epoch 0 of 3, program 2 of 2. Go on" in half.output
    assert checkpoint.saved(tmp_path) == [Position(1, 0)]
    assert not {"lanes", "weights"} & names_in(tmp_path)
    stop_after(1000)
    assert run(tmp_path, "--resume", name=NOT_SAVED.name).exit_code == 0
    rows, _ = undisturbed
    assert (tmp_path / "metrics.csv").read_bytes() == rows
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["experiment"]["save_every"] is None
    assert "weights" not in names_in(tmp_path)


def train(experiment, folder, *limits):
    """Train until each deadline, then to the end; return the rows."""
    for number, each in enumerate((*limits, Deadline())):
        one = prepare(experiment, "a test", folder, resume=number > 0)
        finished = execute(one, each)
    assert finished
    return (folder / "metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("programs", [(1,), (2,), (3,), (1, 1, 1)])
def test_stops_between_programs_with_tuning_seeds(tmp_path, programs):
    """Two optimizers with two stages each; the rows so far choose what is tested."""
    stops = [Stop(each * (1 + PARTS)) for each in programs]
    straight = train(STAGED, tmp_path / "straight")
    assert train(STAGED, tmp_path / "stopped", *stops) == straight
    assert straight.count(b"\n") == 1 + 3 * 2 * (2 + 2)  # epochs, optimizers, runs


def test_tiny_saves_no_more():
    assert experiments.tiny(NOT_SAVED).save_every == math.inf
    assert experiments.tiny(SMALL).save_every == 0


@pytest.mark.usefixtures("known")
def test_a_run_that_only_lacks_its_files_is_finished(tmp_path, monkeypatch):
    """Stopped after the last program: the resumed run trains nothing."""

    def full(*written):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_files, "write_run", full)
        with pytest.raises(OSError, match="No space left"):
            execute(prepare(SMALL, "a test", tmp_path, resume=False))
    assert execute(prepare(SMALL, "a test", tmp_path, resume=True))
    assert checkpoint.position(tmp_path, {}) is None


class Noting(Deadline):
    """Note how long compiling is expected to take, before each program."""

    def allows(self, *kinds):
        if "compile" in kinds:
            self.expected = [*getattr(self, "expected", []), self.last.get("compile")]
        return super().allows(*kinds)


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_the_next_optimizer_takes_as_long_to_compile(tmp_path):
    """The tests of the first one do not: they use its program again."""
    noting = Noting()
    one_trial = replace(STAGED, learning_rates=(0.1,))
    assert train(one_trial, tmp_path, noting)
    none, tests, other, its_tests = noting.expected
    assert none is None
    assert tests == other > 0
    assert its_tests not in (None, other)


@pytest.mark.usefixtures("known")
def test_rows_are_saved_sooner_than_networks(tmp_path):
    """What the last rows took says nothing of the next program's networks."""
    timed = Deadline(guesses={"save": 70.0})
    assert train(replace(SMALL, save_every=1e9), tmp_path / "seldom", timed)
    assert timed.last["save"] == 70
    assert 0 < timed.last["save rows"] < 70
    unsaved = Deadline()
    assert train(NOT_SAVED, tmp_path / "unsaved", unsaved)
    assert "save" not in unsaved.last


def test_a_program_that_would_be_lost_is_not_begun(tmp_path, monkeypatch):
    """A part fits the minutes and a program does not; with checkpoints it is begun."""
    trained, advance = [], Trainer.advance

    def noted(self, *when):
        trained.append(when)
        advance(self, *when)

    monkeypatch.setattr(Trainer, "advance", noted)
    for experiment, begins in ((NOT_SAVED, False), (SMALL, True)):
        one = prepare(experiment, "a test", tmp_path / experiment.name, resume=False)
        thrice = Deadline(time.monotonic() + 900, {"part": 300.0, "evaluation": 0.0})
        assert execute(one, thrice) == begins
        assert bool(trained) == begins
