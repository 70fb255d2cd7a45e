"""Arrays decoded from an archive, kept as .npz so that the next load is quick."""

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import results

Arrays = dict[str, np.ndarray]


def cached(archive: Path, decode: Callable[[], Arrays], variant: str = "") -> Arrays:
    """What `decode` returns; read back if it was decoded from the same bytes before.

    `variant` tells apart what is decoded from one archive in several ways.
    """
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    paths = [folder / f"{sha256}{variant}.npz" for folder in folders(archive)]
    for path in paths:
        arrays = read(path)
        if arrays is not None:
            return arrays
    arrays = decode()
    for path in paths:
        if write(path, arrays):
            break
    return arrays


def folders(archive: Path) -> Iterator[Path]:
    """Where to keep arrays: beside the archive, or else the user's temporary folder.

    A folder without any write permission is left alone even by root, and a temporary
    folder that another user made is not trusted.
    """
    if archive.parent.stat().st_mode & 0o222 and os.access(archive.parent, os.W_OK):
        yield archive.parent / ".decoded"
    user = os.getuid() if hasattr(os, "getuid") else 0
    own = Path(tempfile.gettempdir()) / f"prox_optax-{user}"
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        if own.lstat().st_uid == user:
            yield own


def read(path: Path) -> Arrays | None:
    """The arrays in the file; None if there is none, or not a whole one."""
    try:
        # np.load does not close a damaged file that it opened itself.
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None


def write(path: Path, arrays: Arrays) -> bool:
    """Whether the arrays could be written."""
    try:
        results.write(
            path, lambda temporary: np.savez(temporary, allow_pickle=False, **arrays)
        )
    except OSError:
        return False
    return True
