"""Errors of files and values as sentences, and how a run goes on after one."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.runs import checkpoint

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sentence(error: Exception) -> str:
    """Say what was wrong, with which file, and what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror}."
    if error.errno in FULL:
        return f"{text} Make room there, or name another folder."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"{text} Name a file or folder that you may use."
    return text


@contextmanager
def resumable(folder: Path, command: str) -> Iterator[None]:
    """Add to an error how to go on, if the folder holds an unfinished run."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if checkpoint.is_unfinished(folder):
            hint = f"What was saved is whole. Go on with: {command} --resume"
            raise type(error)(f"{sentence(error)}\n{hint}") from error
        raise
