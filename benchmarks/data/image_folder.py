"""CIFAR-10 as train/<class>/*.png or *.jpg and test/<class>/..., or a tar of it."""

import io
import lzma
import tarfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from benchmarks.data import cache
from benchmarks.data.spec import Raw, Source, Spec

# In the order of the official labels.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
PARTS = ("train", "test")
BROKEN = (
    *(tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, OSError, ValueError, OverflowError),
)
"""Errors that reading an archive raises where it is cut or damaged."""


def read(spec: Spec, path: Path) -> Source | None:
    """The images in a folder, or in a tar archive whose decoded arrays are cached.

    Returns None if the path is neither. JPEG is lossy: the source says so.
    """
    if path.is_dir() and (path / "train").is_dir():
        return to_source(spec, decode(spec, files_in_folder(path, PARTS), path))
    if path.is_file() and is_tar(spec.title, path):
        files = files_in_tar(spec.title, path, PARTS)
        return to_source(spec, cache.cached(path, lambda: decode(spec, files, path)))
    return None


def to_source(spec: Spec, arrays: dict[str, np.ndarray]) -> Source:
    train, test = (
        Raw(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in PARTS
    )
    return Source(train, test, f"{spec.title} ({arrays['kind']} copy)")


def files_in_folder(
    folder: Path, parts: tuple[str, ...]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """(part/class/name, content) of the files two folders down, in order."""
    for part in parts:
        for path in sorted((folder / part).glob("*/*")):
            if path.is_file():
                yield (
                    PurePosixPath(part, path.parent.name, path.name),
                    path.read_bytes(),
                )


def is_tar(title: str, path: Path) -> bool:
    """Whether a file is a tar archive; ValueError if it is a damaged one."""
    try:
        return tarfile.is_tarfile(path)
    except BROKEN as error:
        raise ValueError(f"{title}: {path} is damaged: {error}.") from error


def files_in_tar(
    title: str, path: Path, parts: tuple[str, ...]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The same for an archive, in its order."""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(*PurePosixPath(member.name).parts[-3:])
                if len(name.parts) == 3 and name.parts[0] in parts:
                    content = content_of(tar, member)
                    if content is not None:
                        yield name, content
    except BROKEN as error:
        raise ValueError(f"{title}: {path} is damaged: {error}.") from error


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Of a file, or of one in the archive that a link leads to; None of a folder."""
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


def decode(
    spec: Spec, files: Iterator[tuple[PurePosixPath, bytes]], where: Path
) -> dict[str, np.ndarray]:
    """Images and labels of both parts, and the kind of the files: PNG or JPEG.

    Images are ordered by class and name, whatever the order of the files.
    """
    found: dict[PurePosixPath, np.ndarray] = {}
    for name, content in files:
        if name.suffix.lower() in KINDS:
            if name in found:
                raise ValueError(f"{spec.title}: {where} holds {name} twice.")
            found[name] = decode_image(spec, content, f"{where}: {name}")
    check_classes(spec, found, where)
    kinds = Counter(KINDS[name.suffix.lower()] for name in found)
    arrays = {"kind": np.asarray("JPEG" if kinds["JPEG"] else "PNG")}
    for part in PARTS:
        names = sorted(name for name in found if name.parts[0] == part)
        labels = [CLASSES.index(name.parts[1]) for name in names]
        arrays[f"{part}_images"] = np.stack([found[name] for name in names])
        arrays[f"{part}_labels"] = np.asarray(labels, np.int32)
    return arrays


def decode_image(spec: Spec, content: bytes, where: str) -> np.ndarray:
    height, width, _ = spec.shape
    image = open_image(spec.title, content, where, height * width)
    pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != spec.shape:
        raise ValueError(
            f"{spec.title}: {where} has shape {pixels.shape}, expected {spec.shape}."
        )
    return pixels


def open_image(title: str, content: bytes, where: str, most: int) -> Image.Image:
    """A JPEG or PNG file of so many pixels at most, read in full.

    Its size stands in its head: a large image is refused before it takes memory.
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


def check_classes(
    spec: Spec, found: dict[PurePosixPath, np.ndarray], where: Path
) -> None:
    """Raise unless the folders of both parts are the ten classes, with images."""
    for part in PARTS:
        names = {name.parts[1] for name in found if name.parts[0] == part}
        absent = sorted(set(CLASSES) - names)
        unknown = sorted(names - set(CLASSES))
        if absent:
            raise FileNotFoundError(
                f"{spec.title}: no images (*.png, *.jpg) of {', '.join(absent)} in "
                f"{part}/ of {where}; expected {part}/<class>/ for the ten classes."
            )
        if unknown:
            raise ValueError(
                f"{spec.title}: {part}/ of {where} has folders that are no class: "
                f"{', '.join(unknown)}; the classes are {', '.join(CLASSES)}."
            )
