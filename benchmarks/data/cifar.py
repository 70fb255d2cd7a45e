"""CIFAR-10 and CIFAR-100: finds which of the formats is there, and reads it.

In order: the official python version, the official binary version, each unpacked or as
the archive; for CIFAR-10 then a folder of images a class, or a tar archive of one.
"""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.data import cifar_binary, cifar_python, image_folder
from benchmarks.data.spec import Raw, Source, Spec, check_source, md5

# As published on https://www.cs.toronto.edu/~kriz/cifar.html.
MD5 = {
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
}
# Of the files in the python versions, as torchvision's readers have them. Nobody is
# known to have published those of the binary versions.
MD5_UNPACKED = {
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
    """One of the official archives.

    Attributes:
      title: its name in reports.
      archive: its file name.
      folder: what it unpacks to.
      train, test: names of the files in it.
      parse: the bytes of files -> images and labels.
    """

    title: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    parse: Callable[[list[bytes]], Raw]


VERSIONS_10 = (
    Version(
        "python version",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        ("test_batch",),
        cifar_python.parse_cifar10,
    ),
    Version(
        "binary version",
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        ("test_batch.bin",),
        cifar_binary.parse_cifar10,
    ),
)

VERSIONS_100 = (
    Version(
        "python version",
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        ("train",),
        ("test",),
        cifar_python.parse_cifar100,
    ),
    Version(
        "binary version",
        "cifar-100-binary.tar.gz",
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        cifar_binary.parse_cifar100,
    ),
)


def read_cifar10(spec: Spec, path: Path | None) -> Source:
    """CIFAR-10 from a folder or an archive, in any of the formats."""
    source = read_official(spec, VERSIONS_10, path)
    if source is None and path is not None:
        source = image_folder.read(spec, path)
    if source is None or path is None:
        raise missing(spec, VERSIONS_10, path, "train/<class>/*.png or *.jpg")
    return check_source(spec, source, path)


def read_cifar100(spec: Spec, path: Path | None) -> Source:
    """CIFAR-100 with its 100 fine labels, from a folder or an archive."""
    source = read_official(spec, VERSIONS_100, path)
    if source is None or path is None:
        raise missing(spec, VERSIONS_100, path)
    return check_source(spec, source, path)


def missing(
    spec: Spec, versions: tuple[Version, ...], path: Path | None, *others: str
) -> FileNotFoundError:
    if path is None:
        return FileNotFoundError(f"{spec.title}: no folder was named. {spec.get}")
    official = (name for v in versions for name in (f"{v.folder}/", v.archive))
    names = ", ".join((*official, *others))
    where = f"in {path}" if path.is_dir() else f"at {path}"
    return FileNotFoundError(f"{spec.title}: none of {names} {where}. {spec.get}")


def read_official(
    spec: Spec, versions: tuple[Version, ...], path: Path | None
) -> Source | None:
    """The first official version at the path; None if there is none."""
    if path is None:
        return None
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


def read_folder(spec: Spec, version: Version, folder: Path) -> dict[str, bytes]:
    """The files of the unpacked version, by name."""
    names = (*version.train, *version.test)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{spec.title}: no {', '.join(absent)} in {folder}; unpack "
            f"{version.archive} anew. {spec.get}"
        )
    files = {name: (folder / name).read_bytes() for name in names}
    for name, content in files.items():
        check_md5(spec, folder / name, md5(content), MD5_UNPACKED.get(name))
    return files


def check_md5(spec: Spec, path: Path, found: str, official: str | None) -> None:
    """Raise unless a file has the official checksum, where there is one."""
    if official not in (None, found):
        raise ValueError(
            f"{spec.title}: {path} has md5 {found}, the official file {official}; it "
            f"is damaged or incomplete. {spec.get}"
        )


def read_archive(spec: Spec, version: Version, archive: Path) -> dict[str, bytes]:
    """The files in the archive, by name, after its checksum was tested."""
    check_md5(spec, archive, md5(archive.read_bytes()), MD5[version.archive])
    names = {f"{version.folder}/{name}" for name in (*version.train, *version.test)}
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in names else None
            if content is not None:
                files[Path(member.name).name] = content.read()
    return files


def parse(
    spec: Spec,
    version: Version,
    files: dict[str, bytes],
    where: Path,
    state: str = "",
) -> Source:
    """Images and labels in the files of a version."""
    try:
        train = version.parse([files[name] for name in version.train])
        test = version.parse([files[name] for name in version.test])
    except ValueError as error:
        raise ValueError(f"{spec.title}: {where}: {error}. {spec.get}") from error
    return Source(train, test, f"{spec.title} ({state}{version.title})")
