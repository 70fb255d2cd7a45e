"""Processes that are killed, signalled or denied the disk, and go on.

The oracle is a run that nothing happened to: what is gone on with ends with its bytes.
"""

import errno
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import small_run
from faults import *  # noqa: F403
from faults import (
    again,
    ended,
    failing,
    files_of,
    invoke,
    numbers_of,
    refused,
    report,
    resume,
)

from benchmarks.records import files
from benchmarks.runs import checkpoint, epochs, signals
from benchmarks.runs.checkpoint import Position, State

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    # Threads of Orbax and TensorStore end after the error that they led to.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, small_run.__file__, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    """At most a minute."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize("chain", range(2))
def test_killed_before_what_it_does_to_a_file(undisturbed, tmp_path, chain):
    """SIGKILL before the n-th file is opened, renamed or removed, again and again."""
    moments, folder, kills = random.Random(chain), tmp_path / "run", 0
    status = None
    while status != 0:
        begun = (folder / "checkpoints/run.json").exists()
        last = kills == 5
        process = start(
            *("run", "small", "--out", folder, *(["--resume"] if begun else [])),
            SMALL_RUN_KILL="" if last else f"{moments.randrange(5, 150)} {folder}",
        )
        output, errors = process.communicate(timeout=120)
        status = process.returncode
        assert status in (0, -signal.SIGKILL), errors
        assert "Traceback" not in output + errors
        kills += status != 0
    assert kills > 2
    assert numbers_of(folder) == undisturbed
    assert not (folder / "checkpoints").exists()
    assert not list(folder.glob(".*"))


class Ended(BaseException):
    """As if the process were killed: nobody catches it."""


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("moment", [*range(0, 60, 10), *range(60, 300, 40)])
def test_ended_at_a_sync(undisturbed, tmp_path, monkeypatch, moment):
    """Right before the disk has the n-th file."""
    monkeypatch.setattr(os, "fsync", failing(os.fsync, moment, Ended))
    with pytest.raises(Ended):
        again(tmp_path / "run")
    monkeypatch.undo()
    go_on(tmp_path / "run", undisturbed)


def go_on(folder, undisturbed):
    """Go on as a message says, if there is something to go on with."""
    begun = (folder / "checkpoints/run.json").exists()
    assert ended((resume if begun else again)(folder))
    assert numbers_of(folder) == undisturbed


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("code", "moment"),
    [(errno.ENOSPC, n) for n in (0, 1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 200, 260)]
    + [(code, n) for code in (errno.EDQUOT, errno.EIO) for n in (1, 20, 150)],
)
def test_the_disk_fails(undisturbed, tmp_path, monkeypatch, moment, code):
    """From the n-th file on, none gets to the disk."""
    folder, error = tmp_path / "run", partial(OSError, code, os.strerror(code))
    monkeypatch.setattr(os, "fsync", failing(os.fsync, moment, error))
    result = again(folder)
    monkeypatch.undo()
    refused(result, folder, os.strerror(code))
    if (folder / "checkpoints/run.json").exists():
        refused(result, f"Go on with: python -m benchmarks run small --out {folder}")
    go_on(folder, undisturbed)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("size", [0, 50, 110, 200, 280, 500, 900, 1500, 2000])
def test_no_file_may_be_larger(undisturbed, tmp_path, monkeypatch, size):
    """The kernel's limit: Orbax and TensorBoard meet it too."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder, limits = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        result = again(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(result, f"{folder}/", "File too large", "Make room there")
    if (folder / "metrics.csv").exists():
        go_on(folder, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """Yield a function that makes a disk of so many bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if os.getuid() or subprocess.run(command, check=False).returncode:
            pytest.skip("only root may mount a small disk")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("size", [16, 48, 96, 160])
def test_the_disk_is_full(undisturbed, small_disk, size):
    disk = small_disk(size * 1024)
    refused(again(disk / "run"), f"{disk}/run", "No space left", "Make room there")
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    go_on(disk / "run", undisturbed)


def test_the_disk_is_full_for_a_report(finished, small_disk):
    disk = small_disk(64 * 1024)
    for name in ("metrics.csv", "meta.json"):
        (disk / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(OSError, match="No space left"):
        (disk / "much").write_bytes(bytes(100_000))
    before = files_of(disk)
    refused(report(disk), "No space left")
    assert before.items() <= files_of(disk).items()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("done", range(6))
def test_a_signal_stops_a_run_that_goes_on(
    undisturbed, tmp_path, monkeypatch, done, number
):
    """The signal comes in the evaluation after so many epochs, of both programs."""
    calls, end_epoch = [], epochs.end_epoch

    def signalled(*arguments):
        calls.append(arguments)
        if len(calls) == done + 1:
            os.kill(os.getpid(), number)
            wait_for(signals.asked)
        return end_epoch(*arguments)

    monkeypatch.setattr(epochs, "end_epoch", signalled)
    result = invoke("run", "small", "--out", tmp_path / "a run")
    monkeypatch.undo()
    if done == 5:  # nothing is left to stop
        assert ended(result)
    else:
        assert result.exit_code == 128 + number
        program, epoch = divmod(done + 1, 3)
        stopped = f"Stopped after epoch {epoch} of 3, program {program + 1} of 2."
        command = f"run small --out '{tmp_path}/a run' --resume"
        assert f"{stopped} Go on with: python -m benchmarks {command}" in result.output
        assert ended(invoke(*shlex.split(command)))
    assert numbers_of(tmp_path / "a run") == undisturbed
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_process_stops_and_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "run"
    process = start("run", "long", "--out", folder)
    wait_for(lambda: (folder / "metrics.csv").exists())
    process.terminate()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in output + errors
    at = re.search(r"Stopped after epoch (\d+) of 400(?: and 4 steps)?, pro", output)
    assert checkpoint.reached(folder)[:2] == (0, int(at[1]))
    assert "A second signal ends it at once" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(tmp_path, number):
    process = start("run", "waits", "--out", tmp_path / "run")
    assert "reading the data" in process.stdout.readline()
    process.send_signal(number)
    time.sleep(1)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in output + errors
    assert time.monotonic() - began < 30  # it would read for a minute


@pytest.mark.parametrize("module", ["numpy", "jax", "pandas"])
def test_a_signal_while_it_imports_shows_no_traceback(module):
    command = [sys.executable, "-X", "importtime", "-m", "benchmarks", "list"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as one:
        while not re.search(rf"\b{module}$", one.stderr.readline()):
            assert one.poll() is None
        one.send_signal(signal.SIGINT)
        assert "Traceback" not in one.stderr.read()
    assert one.returncode == -signal.SIGINT


@pytest.fixture
def seen(monkeypatch):
    """Note what is synced and what is renamed, in order."""
    events, fsync, replace = [], os.fsync, os.replace

    def synced(opened):
        events.append(("sync", os.readlink(f"/proc/self/fd/{opened}")))
        fsync(opened)

    def replaced(old, new):
        events.append(("rename", str(old), str(new)))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return events


def test_a_file_is_on_the_disk_before_its_name(tmp_path, seen):
    path = tmp_path / "a.txt"
    files.write_text(path, "text")
    between = str(files.temporary(path))
    assert seen == [
        ("sync", between),
        ("rename", between, str(path)),
        ("sync", str(tmp_path)),
    ]


def test_a_checkpoint_is_on_the_disk_before_its_name(tmp_path, seen):
    checkpoint.start(tmp_path, {})
    seen.clear()
    lanes = {"a": small_run.jnp.ones(3)}
    checkpoint.save(tmp_path, State(Position(0, 1), "a\n", {}), lanes)
    path = tmp_path / "checkpoints/0-1-0"
    between = str(files.temporary(path))
    at = seen.index(("rename", between, str(path)))
    before = {event[1] for event in seen[:at]}
    whole = {str(each).replace(str(path), between) for each in path.rglob("*")}
    assert len(whole) > 10
    assert whole | {between} <= before
    assert seen[at + 1] == ("sync", str(path.parent))
