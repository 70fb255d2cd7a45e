"""Arrays decoded from an archive, kept as .npz so that the next load is quick.

A file holds a seal: a checksum of its arrays and of what they were decoded from. A file
with another seal, or in a folder that another user made, is not read.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.records import files

Arrays = dict[str, np.ndarray]
SEAL = "seal"


def cached(archive: Path, decode: Callable[[], Arrays], variant: str = "") -> Arrays:
    """Return what `decode` returns; read it back if it was kept before.

    Args:
      archive: the file that is decoded; arrays are kept for its exact bytes.
      decode: decodes the archive.
      variant: names the way of decoding, if an archive is decoded in several ways.
    """
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    source = f"{sha256}{variant}"
    paths = [folder / f"{source}.npz" for folder in places(archive)]
    for path in paths:
        arrays = read_sealed(path, source)
        if arrays is not None:
            return arrays
    arrays = decode()
    for path in paths:
        if write_sealed(path, arrays, source):
            break
    return arrays


def places(archive: Path) -> Iterator[Path]:
    """Yield folders to keep arrays in: beside the archive, then a temporary one.

    A folder without any write permission is left alone, even by root. The folder beside
    the archive is trusted if the user or the archive's owner made it.
    """
    user = os.getuid()
    if archive.parent.stat().st_mode & 0o222 and os.access(archive.parent, os.W_OK):
        beside = archive.parent / ".decoded"
        if not os.path.lexists(beside) or owner(beside) in (user, owner(archive)):
            yield beside
    own = Path(tempfile.gettempdir()) / f"prox_optax-{user}"
    with contextlib.suppress(OSError):
        own.mkdir(mode=0o700, exist_ok=True)
        if owner(own) == user:
            yield own


def owner(path: Path) -> int | None:
    """Return the user who owns a file or a folder; None for a link."""
    return None if path.is_symlink() else path.stat().st_uid


def seal(arrays: Arrays, source: str) -> np.ndarray:
    """Return the sha256 of arrays, their names and what they were decoded from."""
    digest = hashlib.sha256(source.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\0{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), np.uint8)


def read_sealed(path: Path, source: str) -> Arrays | None:
    """Return the arrays in a file; None if there is none or its seal is another."""
    try:
        # np.load does not close a damaged file that it opened itself.
        with path.open("rb") as file, np.load(file) as found:
            arrays = dict(found)
        sealed = arrays.pop(SEAL)
    except Exception:  # a damaged archive raises almost anything
        return None
    return arrays if np.array_equal(sealed, seal(arrays, source)) else None


def write_sealed(path: Path, arrays: Arrays, source: str) -> bool:
    """Write arrays with their seal; tell whether that was possible."""
    sealed = {**arrays, SEAL: seal(arrays, source)}
    try:
        files.write(
            path, lambda temporary: np.savez(temporary, allow_pickle=False, **sealed)
        )
    except OSError:
        return False
    return True
