"""The folder of a run: how it is locked, and how its files are recognised.

A run overwrites and removes files. It does so only while its process alone is at work
in the folder, and only where these names are free or recognisably a run's.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records import files, run_files
from benchmarks.records.files import MANIFEST, DamagedError
from benchmarks.records.run_files import META, METRICS

LOCK = ".benchmarks-lock"
TEMPORARY = re.compile(r"\.(\d+)-(.+)")  # as `files.temporary` names them


class Lock:
    """The lock of a folder, held by this process until it releases it or ends.

    A file holds the number of the process. The open file is the lock, not its
    presence: a killed process leaves no lock.
    """

    def __init__(self, folder: Path):
        """Make the folder if need be, and lock it.

        Raises:
          OSError: it cannot be made or written to; says what to write instead.
          ValueError: another process is at work in it, or its lock is no lock.
        """
        self.folder, self.path = folder, folder / LOCK
        self.made = make(folder)
        self.file = self.open()
        while not self.is_there():  # another process has just removed it
            os.close(self.file)
            self.file = self.open()
        try:
            os.ftruncate(self.file, 0)
            os.pwrite(self.file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise files.named(error, self.path) from error

    def open(self) -> int:
        """Open the lock's file and lock it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        opened = os.open(self.path, flags, 0o644)
        try:
            content = os.read(opened, 20)
            if not re.fullmatch(rb"\d*\n?", content):
                raise ValueError(f"{self.path} is no lock of a run: move it away.")
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(opened)
            raise ValueError(
                f"Process {content.decode().strip()} is at work in "
                f"{self.path.parent}: wait until it ends, stop it, or give another "
                "--out."
            ) from error
        except BaseException:
            os.close(opened)
            raise
        return opened

    def is_there(self) -> bool:
        """Say whether the locked file is the one that others find."""
        try:
            return os.path.samestat(os.fstat(self.file), self.path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Unlock the folder; remove it if it is new and nothing was written into it."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self.file)
        for each in self.made:
            with contextlib.suppress(OSError):
                each.rmdir()


def make(folder: Path) -> list[Path]:
    """Make a folder to write to; return those that were not there, innermost first.

    Raises:
      OSError: says what to write instead.
    """
    other = "Name a folder that you may write to: --out DIR."
    try:
        missing = files.make(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotADirectoryError(
            f"{str(folder)!r} cannot be a folder: {reason}. {other}"
        ) from error
    if not (folder.stat().st_mode & 0o222 and os.access(folder, os.W_OK | os.X_OK)):
        raise PermissionError(f"{folder} cannot be written to. {other}")
    return missing


def holds(path: Path, *keys: str) -> bool:
    """Say whether a file is a JSON object with these keys."""
    try:
        return {*keys} <= files.read_json(path).keys()
    except (DamagedError, OSError):
        return False


def is_metrics(path: Path) -> bool:
    """Say whether a file is a table of runs, by its first line."""
    try:
        with path.open(encoding="utf-8") as file:
            return {*run_files.run_columns()} <= {*file.readline().split(",")}
    except (OSError, UnicodeDecodeError):
        return False


OWN: dict[str, Callable[[Path], bool]] = {
    METRICS: is_metrics,
    META: lambda path: holds(path, "command", "experiment", "trials", "versions"),
    MANIFEST: lambda path: holds(path, "sha256", "about", "files"),
}
"""By name, how to recognise a file of a run."""


def is_measured(path: Path) -> bool:
    """Say whether a file is the meta data of measurements, not of a run."""
    has_device = holds(path, "command", "versions", "device")
    return has_device and not holds(path, "experiment")


def claim(
    folder: Path, own: dict[str, Callable[[Path], bool]], others: Sequence[str]
) -> None:
    """Refuse a folder that holds something foreign under a name of a run's.

    Args:
      folder: of the run.
      own: by name, how to recognise what is overwritten or removed.
      others: further names that a run writes; beside files of `own` they are a run's.

    Raises:
      ValueError: names what is not a run's.
    """
    there = [name for name in own if os.path.lexists(folder / name)]
    foreign = [name for name in there if not own[name](folder / name)]
    if not any((folder / name).is_file() for name in there):
        foreign += [name for name in others if os.path.lexists(folder / name)]
    if foreign:
        raise ValueError(
            f"{folder} holds {', '.join(foreign)}, which no run wrote, or which is "
            "damaged; a run would overwrite it. Give another --out, or move it away."
        )


@contextlib.contextmanager
def measuring(folder: Path, names: Sequence[str], meta: str = META) -> Iterator[None]:
    """Lock a folder of measurements, which may write files of these names.

    Files of these names that are there belong to it if its meta data are there too.

    Raises:
      OSError, ValueError: of `Lock` and `claim`.
    """
    lock = Lock(folder)
    try:
        claim(folder, {meta: is_measured}, names)
        yield
    finally:
        lock.release()


def clear(folder: Path, *patterns: str) -> None:
    """Remove what killed processes left half written under names like these."""
    for path in folder.glob(".*-*"):
        match = TEMPORARY.fullmatch(path.name)
        of_run = match and any(re.fullmatch(each, match[2]) for each in patterns)
        if match and of_run and not is_alive(int(match[1])):
            remove(path)


def is_alive(process: int) -> bool:
    """Say whether a process other than this one has this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def write(path: Path, fill: Callable[[Path], object], **about: Any) -> None:
    """Let `fill` write a folder under another name, seal it, then rename it.

    The manifest says what is `about` the files. An older folder is removed first.

    Raises:
      OSError: names the path that could not be written.
    """
    unfinished = files.temporary(path)
    remove(unfinished)
    try:
        files.make(path.parent)
        fill(unfinished)
        files.seal(unfinished, files.files_in(unfinished), **about)
        remove(path)
        files.replace(unfinished, path)
    except OSError as error:
        raise files.named(error, path) from error
    finally:
        remove(unfinished)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there; of a link, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
