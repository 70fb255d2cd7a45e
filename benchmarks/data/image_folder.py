"""A folder or tar archive of images: train/<class>/*.png or *.jpg, test/<class>/..."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from benchmarks.data import cache, image_files
from benchmarks.data.spec import ImageSpec, RawImages, RawSet

PARTS = ("train", "test")


def read(spec: ImageSpec, classes: tuple[str, ...], path: Path) -> RawSet | None:
    """Read a folder, or a tar archive whose decoded arrays are cached.

    Args:
      spec: what the data set holds.
      classes: the names of the folders, in the order of their labels.
      path: the folder or the archive.

    Returns:
      The images, or None if the path is neither. JPEG is lossy: the source says so.
    """
    if (path / "train").is_dir():
        arrays = decode(spec, classes, image_files.in_folder(path, PARTS), path)
    elif image_files.is_tar(spec.title, path):
        files = image_files.in_tar(spec.title, path, PARTS)
        arrays = cache.cached(path, lambda: decode(spec, classes, files, path))
    else:
        return None
    train, test = (
        RawImages(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in PARTS
    )
    return RawSet(train, test, f"{spec.title} ({arrays['kind']} copy)")


def decode(
    spec: ImageSpec,
    classes: tuple[str, ...],
    files: Iterator[tuple[PurePosixPath, bytes]],
    where: Path,
) -> cache.Arrays:
    """Return images and labels of both parts, and `kind`: PNG, or JPEG if any file is.

    Images are ordered by class and name, whatever the order of the files.
    """
    found: dict[PurePosixPath, np.ndarray] = {}
    for name, content in files:
        if name.suffix.lower() in image_files.FORMATS:
            if name in found:
                raise ValueError(f"{spec.title}: {where} holds {name} twice.")
            found[name] = decode_image(spec, content, f"{where}: {name}")
    check_classes(spec, classes, found, where)
    formats = {image_files.FORMATS[name.suffix.lower()] for name in found}
    arrays = {"kind": np.asarray("JPEG" if "JPEG" in formats else "PNG")}
    for part in PARTS:
        names = sorted(name for name in found if name.parts[0] == part)
        labels = [classes.index(name.parts[1]) for name in names]
        arrays[f"{part}_images"] = np.stack([found[name] for name in names])
        arrays[f"{part}_labels"] = np.asarray(labels, np.int32)
    return arrays


def decode_image(spec: ImageSpec, content: bytes, where: str) -> np.ndarray:
    height, width, _ = spec.shape
    image = image_files.open_image(spec.title, content, where, height * width)
    pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != spec.shape:
        raise ValueError(
            f"{spec.title}: {where} has shape {pixels.shape}, expected {spec.shape}."
        )
    return pixels


def check_classes(
    spec: ImageSpec,
    classes: tuple[str, ...],
    found: dict[PurePosixPath, np.ndarray],
    where: Path,
) -> None:
    """Raise unless the folders of both parts are the classes, with images."""
    for part in PARTS:
        names = {name.parts[1] for name in found if name.parts[0] == part}
        absent = sorted(set(classes) - names)
        unknown = sorted(names - set(classes))
        if absent:
            raise FileNotFoundError(
                f"{spec.title}: no images (*.png, *.jpg) of {', '.join(absent)} in "
                f"{part}/ of {where}; expected {part}/<class>/ for every class."
            )
        if unknown:
            raise ValueError(
                f"{spec.title}: {part}/ of {where} has folders that are no class: "
                f"{', '.join(unknown)}; the classes are {', '.join(classes)}."
            )
