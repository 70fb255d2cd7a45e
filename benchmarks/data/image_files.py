"""Image files in a folder or a tar archive: found, and decoded without trust."""

import io
import lzma
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
BROKEN = (
    *(tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, OSError, ValueError, OverflowError),
)
"""Errors that reading an archive raises where it is cut or damaged."""


def in_folder(
    folder: Path, parts: tuple[str, ...]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (part/folder/name, content) of the files two folders down, in order."""
    for part in parts:
        for path in sorted((folder / part).glob("*/*")):
            if path.is_file():
                name = PurePosixPath(part, path.parent.name, path.name)
                yield name, path.read_bytes()


def in_tar(
    title: str, path: Path, parts: tuple[str, ...]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (part/folder/name, content) of the files in an archive, in its order.

    Of a longer name the last three parts count. `title` names the data set in an error.
    """
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(*PurePosixPath(member.name).parts[-3:])
                if len(name.parts) == 3 and name.parts[0] in parts:
                    content = read_member(tar, member)
                    if content is not None:
                        yield name, content
    except BROKEN as error:
        raise ValueError(f"{title}: {path} is damaged: {error}.") from error


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Return the content of a file or of one that a link leads to; None of a folder."""
    try:
        file = tar.extractfile(member)
    except (KeyError, RecursionError) as error:
        raise tarfile.ReadError(
            f"{member.name} is a link to {member.linkname}, which leads to no file"
        ) from error
    if file is None:
        return None
    with file:
        return file.read()


def is_tar(title: str, path: Path) -> bool:
    """Tell whether a file is a tar archive; raise ValueError if it is a damaged one."""
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except BROKEN as error:
        raise ValueError(f"{title}: {path} is damaged: {error}.") from error


def open_image(title: str, content: bytes, where: str, most: int) -> Image.Image:
    """Decode a JPEG or PNG file of at most `most` pixels.

    Its size stands in its head: a large image is refused before it takes memory.
    `title` and `where` name the data set and the file in an error.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of a large image
            image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    except Exception as error:  # a damaged image raises almost anything
        raise ValueError(f"{title}: {where} is no image: {error}.") from error
    width, height = image.size
    if width * height > most:
        raise ValueError(
            f"{title}: {where} has {width}x{height} pixels, expected {most} at most."
        )
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{title}: {where} is no image: {error}.") from error
    return image
