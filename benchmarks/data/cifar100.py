"""CIFAR-100 with its 100 fine labels, in an official version."""

from functools import partial
from pathlib import Path

from benchmarks.data import cifar_files
from benchmarks.data.spec import ImageSpec, RawSet, require

SPEC = ImageSpec(
    "CIFAR-100",
    (32, 32, 3),
    100,
    train=50_000,
    test=10_000,
    get=cifar_files.how_to_get(100),
)
VERSIONS = (
    cifar_files.Version(
        "python version",
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        ("train",),
        ("test",),
        partial(cifar_files.parse_python, key="fine_labels"),
    ),
    cifar_files.Version(
        "binary version",
        "cifar-100-binary.tar.gz",
        "cifar-100-binary",
        ("train.bin",),
        ("test.bin",),
        partial(cifar_files.parse_binary, label_bytes=2),
    ),
)


def read(data_dir: Path | None) -> RawSet:
    """Read an official version from a folder or an archive."""
    path = require(SPEC, data_dir)
    found = cifar_files.read(SPEC, VERSIONS, path)
    if found is None:
        raise cifar_files.missing(SPEC, VERSIONS, path)
    return found
