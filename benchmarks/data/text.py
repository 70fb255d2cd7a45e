"""A text file as bytes, cut in three: train, validation, test, in this order."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PART = 20  # the last twentieth is the test split, the one before it validation


class TextSet(NamedTuple):
    """Three consecutive parts of a text, uint8, and its description for reports."""

    train: jax.Array
    validation: jax.Array
    test: jax.Array
    source: str


def load(path: Path | None, context: int) -> TextSet:
    """Read and cut a file, or the only .txt file of a folder.

    Args:
      path: of the file or the folder.
      context: bytes that are predicted in one window; every split holds at least one.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the text is too short.
    """
    file = find_text(path)
    data = file.read_bytes()
    part = len(data) // PART
    if part < context + 1:
        raise ValueError(
            f"{file} holds {len(data)} bytes, and a twentieth of it, the size of the "
            f"test split, is less than a window of {context} bytes and the next byte; "
            f"give a text of {PART * (context + 1)} bytes or more: --data-dir FILE."
        )
    digest = hashlib.sha256(data).hexdigest()[:16]
    source = f"{file.name} ({len(data):,} bytes, sha256 {digest})"
    cuts = [len(data) - 2 * part, len(data) - part]
    train, validation, test = map(
        jnp.asarray, np.split(np.frombuffer(data, np.uint8), cuts)
    )
    return TextSet(train, validation, test, source)


def find_text(path: Path | None) -> Path:
    """Return the file that was named, or the only one in the folder that was."""
    if path is None:
        raise FileNotFoundError("Name a text file to learn from: --data-dir FILE.")
    files = [path] if path.is_file() else sorted(path.glob("*.txt"))
    if len(files) != 1:
        found = f"{len(files)} .txt files" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {found}; name one: --data-dir FILE.")
    return files[0]
