"""CIFAR-10 as train/<class>/*.png or *.jpg and test/<class>/..., or a tar of it."""

import io
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

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


def read(spec: Spec, path: Path) -> Source | None:
    """The images in a folder, or in a tar archive whose decoded arrays are cached.

    Returns None if the path is neither. JPEG is lossy: the source says so.
    """
    if path.is_dir() and (path / "train").is_dir():
        return to_source(spec, decode(spec, files_in_folder(path, PARTS), path))
    if path.is_file() and tarfile.is_tarfile(path):
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


def files_in_tar(
    title: str, path: Path, parts: tuple[str, ...]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The same for an archive, in its order."""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = PurePosixPath(*PurePosixPath(member.name).parts[-3:])
                file = tar.extractfile(member) if len(name.parts) == 3 else None
                if file is not None and name.parts[0] in parts:
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{title}: {path} is damaged: {error}.") from error


def decode(
    spec: Spec, files: Iterator[tuple[PurePosixPath, bytes]], where: Path
) -> dict[str, np.ndarray]:
    """Images and labels of both parts, and the kind of the files: PNG or JPEG.

    Images are ordered by class and name, whatever the order of the files.
    """
    found: dict[PurePosixPath, np.ndarray] = {}
    for name, content in files:
        if name.suffix.lower() in KINDS:
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
    image = np.asarray(open_image(spec.title, content, where).convert("RGB"))
    if image.shape != spec.shape:
        raise ValueError(
            f"{spec.title}: {where} has shape {image.shape}, expected {spec.shape}."
        )
    return image


def open_image(title: str, content: bytes, where: str) -> Image.Image:
    """A JPEG or PNG file, read in full."""
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
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
