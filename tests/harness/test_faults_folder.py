"""Whose a folder is, whether it can be one, and who is at work in it.

The oracle is what was in the folder before: a refusal changes nothing, and what no run
wrote stays as it was.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from faults import *  # noqa: F403
from faults import again, ended, failing, files_of, invoke, numbers_of, refused, resume

from benchmarks.records import files
from benchmarks.runs import checkpoint, folders
from benchmarks.runs.checkpoint import Position, State

pytestmark = [pytest.mark.faults, pytest.mark.slow]

FOREIGN = {
    "checkpoints/model.bin": b"weights",
    "checkpoints/best/model.bin": b"weights",
    "checkpoints/0-1-0/model.bin": b"weights",
    "checkpoints/run.json": b'{"run": 1}',
    "checkpoints/0.json": b'{"loss": 1}',
    "checkpoints": b"a file",
    "metrics.csv": b"step,loss\n1,2\n",
    "meta.json": b'{"command": "mine"}',
    "manifest.json": b'{"name": "my web page"}',
    "table.md": b"mine",
    "loss.png": b"mine",
    "curves.svg": b"mine",
    "strengths.png": b"mine",
    "weights/model.bin": b"weights",
    "weights": b"a file",
    "tensorboard": b"a file",
    folders.LOCK: b"mine",
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("command", [again, resume])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_someone_else(tmp_path, command, name):
    write(tmp_path, name, FOREIGN[name])
    write(tmp_path, "notes.txt", b"mine")
    before = files_of(tmp_path)
    result = command(tmp_path)
    refused(result)
    assert files_of(tmp_path) == before
    assert "reading the data" not in result.output or command is resume
    if command is again:
        assert name.split("/")[0] in result.output


OVERWRITTEN = {"table.md", "loss.png", "curves.svg", "strengths.png"}


@pytest.mark.parametrize("name", sorted(FOREIGN.keys() - OVERWRITTEN))
def test_a_file_of_someone_else_in_the_folder_of_a_run(finished, name):
    """Beside files of a run, its report's names are taken for its own."""
    first = finished / name.split("/")[0]
    folders.remove(first)
    write(finished, name, FOREIGN[name])
    before = files_of(finished)
    if ended(again(finished)):
        assert name == "weights/model.bin"
        assert (finished / name).read_bytes() == FOREIGN[name]
    else:
        assert files_of(finished) == before


@pytest.mark.usefixtures("known")
def test_the_current_folder_of_a_project(tmp_path, monkeypatch):
    write(tmp_path, "checkpoints/epoch-3/model.bin", b"weights")
    write(tmp_path, "setup.py", b"")
    monkeypatch.chdir(tmp_path)
    before = files_of(tmp_path)
    refused(again("."), "checkpoints", "Give another --out")
    assert files_of(tmp_path) == before


def test_foreign_files_in_the_folder_of_a_run_stay(half, undisturbed):
    mine = {
        "notes.txt": b"mine",
        "checkpoints/notes.txt": b"mine",
        "checkpoints/1-1-4/notes.txt": b"mine",
        "checkpoints/0-0-0/model.bin": b"mine",
        "weights/mine/model.bin": b"mine",
        "tensorboard/mine": b"mine",
        ".123-notes": b"mine",
    }
    for name, content in mine.items():
        write(half, name, content)
    assert ended(resume(half))
    assert numbers_of(half) == undisturbed
    after = files_of(half)
    assert {name: after[name] for name in mine} == mine
    left = {name for name in after if name.startswith("checkpoints/")}
    assert left == {
        *("checkpoints/0-0-0", "checkpoints/1-1-4"),
        *(name for name in mine if name.startswith("checkpoints/")),
    }


def test_again_over_an_own_finished_run(finished, undisturbed):
    assert ended(again(finished))
    assert numbers_of(finished) == undisturbed


@pytest.mark.parametrize("killed", ["999999999", "99999999999999999999"])
def test_what_killed_processes_left_is_removed(finished, undisturbed, killed):
    left = {
        f".{killed}-{name}": b"half"
        for name in ("metrics.csv", "meta.json", "manifest.json", "loss.png")
    }
    left |= {
        f"checkpoints/.{killed}-1-1-0/lanes/d/1": b"half",
        f"checkpoints/.{killed}-run.json": b"half",
    }
    for name, content in left.items():
        write(finished, name, content)
    alive = f".{os.getppid()}-table.md"
    write(finished, alive, b"half")
    assert ended(resume(finished))
    assert not left.keys() & files_of(finished).keys()
    assert not (finished / "checkpoints").exists()
    assert (finished / alive).exists()
    (finished / alive).unlink()
    assert numbers_of(finished) == undisturbed


def test_a_finished_run_loses_its_checkpoints_when_resumed(finished):
    """Killed between meta.json and the last checkpoint's removal."""
    files.write_text(finished / "checkpoints/run.json", "{}")
    for position in (Position(0, 1), Position(0, 2)):
        checkpoint.save(finished, State(position, "a\n", {}))
    (finished / "checkpoints/run.json").unlink()
    assert ended(resume(finished))
    assert not (finished / "checkpoints").exists()


@pytest.mark.parametrize("moment", range(4))
def test_ended_while_checkpoints_are_removed(finished, monkeypatch, moment):
    """Before the n-th folder goes; then the run is resumed, and begun anew."""
    files.write_text(finished / "checkpoints/run.json", "{}")
    arrays = {"a": np.ones(3)}
    checkpoint.save(finished, State(Position(0, 1), "a\n", {}), arrays)
    monkeypatch.setattr(Path, "rmdir", failing(Path.rmdir, moment, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.finish(finished)
    monkeypatch.undo()
    assert checkpoint.is_own(finished / "checkpoints")
    checkpoint.finish(finished)
    assert not (finished / "checkpoints").exists()


def test_a_manifest_leads_to_no_file_of_another_folder(finished, tmp_path):
    (tmp_path / "mine").write_text("mine")
    files.write_text(finished / "checkpoints/run.json", "{}")
    checkpoint.save(finished, State(Position(0, 1), "a\n", {}))
    (finished / "checkpoints/run.json").unlink()
    path = finished / "checkpoints/0-1-0/manifest.json"
    for name in ("../../../mine", str(tmp_path / "mine")):
        content = json.loads(path.read_text())
        content["files"] = {name: "0"}
        del content["sha256"]
        whole = {"sha256": files.manifest_sha256(content), **content}
        path.write_text(json.dumps(whole))
        assert ended(resume(finished))
        assert (tmp_path / "mine").read_text() == "mine"


def to_file(path):
    path.write_text("mine")
    return path


def to_link(target):
    def make(path):
        path.symlink_to(target if target else path)
        return path

    return make


def read_only(path):
    path.mkdir()
    path.chmod(0o555)
    return path


NO_FOLDERS = {
    "a file": to_file,
    "below a file": lambda path: to_file(path) / "run",
    "far below a file": lambda path: to_file(path) / "a" / "b",
    "a link to nothing": to_link("nothing"),
    "below a link to nothing": lambda path: to_link("nothing")(path) / "run",
    "a link to itself": to_link(None),
    "below a link to itself": lambda path: to_link(None)(path) / "run",
    "a link to a file": to_link(__file__),
    "a device": lambda path: "/dev/null",
    "below a device": lambda path: "/dev/null/run",
    "not to be written to": read_only,
    "of the kernel": lambda path: "/proc/run",
    "NUL": lambda path: f"{path}\0",
    "a long name": lambda path: path.with_name("x" * 300),
    "a long path": lambda path: path / ("x/" * 5000),
}


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("command", [again, resume])
@pytest.mark.parametrize("name", NO_FOLDERS)
def test_what_cannot_be_a_folder(tmp_path, name, command):
    folder = NO_FOLDERS[name](tmp_path / "out")
    before = files_of(tmp_path)
    result = command(folder)
    refused(result, "--out")
    assert "reading the data" not in result.output
    assert files_of(tmp_path) == before


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("name", sorted(NO_FOLDERS.keys() - {"not to be written to"}))
@pytest.mark.parametrize("command", ["report", "sample"])
def test_no_results_in_what_is_no_folder(tmp_path, name, command):
    refused(invoke(command, "small", "--out", NO_FOLDERS[name](tmp_path / "out")))


MEASURED = {
    "traffic": ("meta.json", "table.md", "traffic.csv"),
    "speed": ("meta.json", "table.md", "ways.csv"),
    "gpu": ("meta.json", "plan.md", "kernel.csv"),
    "lanes": ("lanes.json", "lanes.md", "lanes.csv"),
    "continual-costs": ("meta.json", "table.md", "kept.csv"),
}


@pytest.mark.parametrize("name", NO_FOLDERS)
@pytest.mark.parametrize("command", sorted(MEASURED))
def test_no_folder_for_measurements(tmp_path, name, command):
    folder = NO_FOLDERS[name](tmp_path / "out")
    refused(invoke(command, "--out", folder), "--out")


@pytest.mark.usefixtures("known")
def test_nothing_is_left_of_a_run_that_did_not_start(tmp_path):
    refused(resume(tmp_path / "a/b/c"), "Start it without --resume")
    assert list(tmp_path.iterdir()) == []


def hold(folder):
    """Start a process that is at work in a folder until its input ends."""
    code = (
        "import sys; from pathlib import Path; "
        "from benchmarks.runs.folders import Lock; "
        "Lock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    return process


@pytest.mark.parametrize("command", [again, resume])
def test_a_second_process_touches_nothing(half, undisturbed, command):
    with hold(half) as first:
        before = files_of(half)
        result = command(half)
        refused(result, f"Process {first.pid} is at work in {half}")
        assert "reading the data" not in result.output
        assert files_of(half) == before
        first.kill()
    assert (half / folders.LOCK).exists()
    assert ended(resume(half))  # a killed process leaves no lock
    assert not (half / folders.LOCK).exists()
    assert numbers_of(half) == undisturbed


def test_an_unfinished_run_is_not_begun_anew(half):
    before = files_of(half)
    result = again(half)
    refused(result, f"{half} holds an unfinished run: go on with it by --resume")
    assert "reading the data" not in result.output
    assert files_of(half) == before


@pytest.mark.parametrize("content", ["", "1\n", "999999999\n"])
def test_a_lock_that_nobody_holds(half, undisturbed, content):
    (half / folders.LOCK).write_text(content)
    assert ended(resume(half))
    assert numbers_of(half) == undisturbed


def test_a_lock_is_of_the_file_that_is_there(tmp_path, monkeypatch):
    """The first process ends between the second's opening and its locking."""
    open_it, opened = folders.Lock.open, []

    def after_another(lock):
        opened.append(open_it(lock))
        if len(opened) == 1:
            lock.path.unlink()
        return opened[-1]

    monkeypatch.setattr(folders.Lock, "open", after_another)
    lock = folders.Lock(tmp_path)
    assert len(opened) == 2
    with pytest.raises(ValueError, match=f"Process {os.getpid()} is at work"):
        open_it(lock)
    lock.release()
    assert list(tmp_path.iterdir()) == []


OF_A_RUN = b'{"command": "", "experiment": {}, "versions": {}, "device": {}}'


@pytest.mark.parametrize("content", [b"mine", OF_A_RUN])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("command", MEASURED)
def test_measurements_overwrite_nothing(tmp_path, command, number, content):
    write(tmp_path, MEASURED[command][number], content)
    before = files_of(tmp_path)
    refused(invoke(command, "--out", tmp_path), "Give another --out")
    assert files_of(tmp_path) == before
