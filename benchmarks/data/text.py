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
    return cut(file, file.read_bytes(), context)


def cut(file: Path, data: bytes, context: int) -> TextSet:
    """Cut a text that was read; ValueError if it is too short."""
    part = len(data) // PART
    if part < context + 1:
        raise ValueError(
            f"{file} holds {len(data)} bytes, and a twentieth of it, the size of the "
            f"test split, is less than a window of {context} bytes and the next byte; "
            f"give a text of {PART * (context + 1)} bytes or more: --data-dir FILE."
        )
    cuts = [len(data) - 2 * part, len(data) - part]
    train, validation, test = map(
        jnp.asarray, np.split(np.frombuffer(data, np.uint8), cuts)
    )
    return TextSet(train, validation, test, described(file, data))


def load_all(folder: Path | None, context: int, texts: int) -> TextSet:
    """Read and cut the first texts of a folder, in the order of the files' names.

    Each is cut to the length of the shortest one, then in three like a single text.

    Args:
      folder: with a .txt file for each text.
      context: bytes that are predicted in one window; every split holds at least one.
      texts: their number.

    Returns:
      Splits of shape (texts, bytes).

    Raises:
      FileNotFoundError: there are fewer texts.
      ValueError: one of them is too short.
    """
    found = sorted(folder.glob("*.txt")) if folder else []
    if len(found) < texts:
        raise FileNotFoundError(
            f"Name a folder of {texts} texts to learn one after the other, as .txt "
            f"files in the order of their names: --data-dir DIR. "
            f"{folder or 'It'} has {len(found)}."
        )
    files = found[:texts]
    data = [file.read_bytes() for file in files]
    size = min(map(len, data))
    each = [
        cut(file, whole[:size], context)
        for file, whole in zip(files, data, strict=True)
    ]
    train, validation, test = (
        jnp.stack(parts) for parts in zip(*(split[:3] for split in each), strict=True)
    )
    source = f"the first {size:,} bytes of " + ", ".join(
        described(file, whole) for file, whole in zip(files, data, strict=True)
    )
    return TextSet(train, validation, test, source)


def described(file: Path, data: bytes) -> str:
    """Name a text with its size and what it holds."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{file.name} ({len(data):,} bytes, sha256 {digest})"


def find_text(path: Path | None) -> Path:
    """Return the file that was named, or the only one in the folder that was."""
    if path is None:
        raise FileNotFoundError("Name a text file to learn from: --data-dir FILE.")
    files = [path] if path.is_file() else sorted(path.glob("*.txt"))
    if len(files) != 1:
        found = f"{len(files)} .txt files" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {found}; name one: --data-dir FILE.")
    return files[0]
