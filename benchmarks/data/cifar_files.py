"""The two official versions of CIFAR, python and binary, unpacked or as the archive."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.data.spec import ImageSpec, RawImages, RawSet, md5

PIXELS = 3 * 32 * 32

MD5 = {
    # Of the archives, as published on https://www.cs.toronto.edu/~kriz/cifar.html.
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    # Of the files in the python versions, as torchvision's readers have them. Nobody is
    # known to have published those of the binary versions.
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


class Version(NamedTuple):
    """One of the official versions of a data set.

    Attributes:
      title: its name in reports.
      archive: name of the archive.
      folder: what the archive unpacks to.
      train, test: names of the files in the folder.
      parse: returns the images and labels in the contents of files.
    """

    title: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    parse: Callable[[list[bytes]], RawImages]


def how_to_get(classes: int) -> str:
    return (
        f"Get cifar-{classes}-python.tar.gz or cifar-{classes}-binary.tar.gz from "
        "https://www.cs.toronto.edu/~kriz/cifar.html, put it into a folder, unpacked "
        "or not, and name the folder: --data-dir DIR."
    )


def read(spec: ImageSpec, versions: tuple[Version, ...], path: Path) -> RawSet | None:
    """Read the first version that a path holds or is; return None if there is none."""
    for version in versions:
        for folder in (path / version.folder, path):
            if any((folder / name).is_file() for name in version.train):
                files = read_folder(spec, version, folder)
                return parse(spec, version, files, folder, "unpacked ")
        for archive in (path / version.archive, path):
            if archive.is_file() and archive.name == version.archive:
                files = read_archive(spec, version, archive)
                return parse(spec, version, files, archive)
    return None


def missing(
    spec: ImageSpec, versions: tuple[Version, ...], path: Path, *others: str
) -> FileNotFoundError:
    """Return the error that says what was looked for."""
    official = (name for v in versions for name in (f"{v.folder}/", v.archive))
    names = ", ".join((*official, *others))
    where = f"in {path}" if path.is_dir() else f"at {path}"
    return FileNotFoundError(f"{spec.title}: none of {names} {where}. {spec.get}")


def read_folder(spec: ImageSpec, version: Version, folder: Path) -> dict[str, bytes]:
    """Return the files of an unpacked version by name, their checksums verified."""
    names = (*version.train, *version.test)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{spec.title}: no {', '.join(absent)} in {folder}; unpack "
            f"{version.archive} again. {spec.get}"
        )
    return {name: verified(spec, folder / name) for name in names}


def verified(spec: ImageSpec, path: Path) -> bytes:
    """Return the content of a file, which has the published md5 if there is one."""
    content = path.read_bytes()
    found, official = md5(content), MD5.get(path.name)
    if official not in (None, found):
        raise ValueError(
            f"{spec.title}: {path} has md5 {found}, the official file {official}; it "
            f"is damaged or incomplete. {spec.get}"
        )
    return content


def read_archive(spec: ImageSpec, version: Version, archive: Path) -> dict[str, bytes]:
    """Return the files in an archive by name, the archive's checksum verified."""
    names = {f"{version.folder}/{name}" for name in (*version.train, *version.test)}
    files = {}
    with tarfile.open(fileobj=io.BytesIO(verified(spec, archive))) as tar:
        for member in tar:
            if member.name in names and (file := tar.extractfile(member)):
                files[Path(member.name).name] = file.read()
    return files


def parse(
    spec: ImageSpec,
    version: Version,
    files: dict[str, bytes],
    where: Path,
    state: str = "",
) -> RawSet:
    """Return the images and labels in the files of a version."""
    try:
        train = version.parse([files[name] for name in version.train])
        test = version.parse([files[name] for name in version.test])
    except ValueError as error:
        raise ValueError(f"{spec.title}: {where}: {error}. {spec.get}") from error
    return RawSet(train, test, f"{spec.title} ({state}{version.title})")


def parse_binary(files: list[bytes], label_bytes: int) -> RawImages:
    """Return images and labels from records of label bytes and 3072 pixels.

    The last label byte counts: CIFAR-100's coarse label comes first, the fine one last.
    """
    record = label_bytes + PIXELS
    for content in files:
        if len(content) % record:
            raise ValueError(
                f"a file of {len(content)} bytes, expected a multiple of {record}"
            )
    values = np.frombuffer(b"".join(files), np.uint8).reshape(-1, record)
    return RawImages(to_images(values[:, label_bytes:]), values[:, label_bytes - 1])


def to_images(pixels: np.ndarray) -> np.ndarray:
    """Turn rows of 1024 red, 1024 green and 1024 blue pixels into (n, 32, 32, 3)."""
    planes = pixels.reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def parse_python(files: list[bytes], key: str) -> RawImages:
    """Return images and labels from pickles of Python 2; `key` names the labels.

    Only files with the official checksum come here.
    """
    # Python 2 made no difference between text and bytes: latin1 keeps both.
    batches = [BatchUnpickler(io.BytesIO(x), encoding="latin1").load() for x in files]
    pixels, labels = (
        np.concatenate([batch[name] for batch in batches]) for name in ("data", key)
    )
    return RawImages(to_images(pixels), labels)


ADMITTED: dict[tuple[str, str], Any] = {
    # The name at the time; the function has moved within NumPy since.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class BatchUnpickler(pickle.Unpickler):
    """Admits built-in containers, strings, numbers and NumPy arrays, no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"it wants to import {module}.{name}, which the official files do not"
            )
        return ADMITTED[module, name]
