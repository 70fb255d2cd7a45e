"""What tests of faults share: a half and a finished run, and how a command ended."""

import shutil
from pathlib import Path

import jax
import pytest
import small_run
from jax.experimental.compilation_cache import compilation_cache
from typer.testing import CliRunner

from benchmarks import experiments
from benchmarks.__main__ import app
from benchmarks.records import files
from benchmarks.report import figures
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare

COMMAND = "python -m benchmarks run small"
PARTS_UNTIL_HALF = 1 + 6 + 1 + 3  # one program with its six parts, half of the other


class Stop(Deadline):
    """Comes when it was asked so often, not after a time."""

    def __init__(self, asks):
        super().__init__()
        self.asks = asks

    def allows(self, *kinds):
        self.asks -= 1
        return self.asks >= 0


def failing(function, calls, error):
    """Return `function`, but after so many calls each raises what `error` makes."""
    left = [calls]

    def call(argument):
        left[0] -= 1
        if left[0] < 0:
            raise error()
        function(argument)

    return call


def invoke(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def resume(folder):
    return invoke("run", "small", "--resume", "--out", folder)


def report(folder):
    return invoke("report", "small", "--out", folder)


def again(folder):
    return invoke("run", "small", "--out", folder)


def sample(folder):
    return invoke("sample", "small", "--out", folder)


def ended(result):
    """Whether a command succeeded; if not, it says so in sentences of its own."""
    assert "Traceback" not in result.output, result.output
    if result.exit_code == 0:
        return True
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2), result.output
    return False


def refused(result, *said):
    assert not ended(result), result.output
    for each in said:
        assert str(each) in result.output, result.output


def files_of(folder):
    """Return what a folder holds by name: bytes, None for a folder, a link's target."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def numbers_of(folder):
    """Return a run's rows, and what is drawn from its weights."""
    assert ended(sample(folder))
    drawn = files_of(folder / "samples")
    shutil.rmtree(folder / "samples")
    return (folder / "metrics.csv").read_bytes(), drawn


def draw_quickly(folder, name, drawn):
    """Figures take longer than all the rest, and are not what is looked at here."""
    for suffix in ("png", "svg"):
        files.write_text(folder / f"{name}.{suffix}", drawn.get_suptitle())


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Let the commands know the small experiment, and compile it once."""
    cache = tmp_path_factory.getbasetemp().parent / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiments.EXPERIMENTS, "small", small_run.SMALL)
        patch.setattr(figures, "save", draw_quickly)
        yield
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def finished_run(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert ended(again(folder))
    return folder


@pytest.fixture(scope="module")
def half_run(known, tmp_path_factory):
    folder = tmp_path_factory.mktemp("half") / "run"
    run = prepare(small_run.SMALL, COMMAND, folder, resume=False)
    assert not execute(run, Stop(PARTS_UNTIL_HALF))
    return folder


def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "run", symlinks=True))


@pytest.fixture
def finished(finished_run, tmp_path):
    """Copy a finished run for one test."""
    return copy(finished_run, tmp_path)


@pytest.fixture
def half(half_run, tmp_path):
    """Copy a run that was stopped in its second program for one test."""
    return copy(half_run, tmp_path)


@pytest.fixture(scope="module")
def undisturbed(finished_run, tmp_path_factory):
    """Return what every run has to end with."""
    return numbers_of(copy(finished_run, tmp_path_factory.mktemp("undisturbed")))
