"""CIFAR-10 in an official version, or as a folder or tar archive of images a class."""

from functools import partial
from pathlib import Path

from benchmarks.data import cifar_files, image_folder
from benchmarks.data.spec import ImageSpec, RawSet, require

SPEC = ImageSpec(
    "CIFAR-10",
    (32, 32, 3),
    10,
    train=50_000,
    test=10_000,
    get=cifar_files.how_to_get(10),
)
CLASSES = (  # in the order of the official labels
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
VERSIONS = (
    cifar_files.Version(
        "python version",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        ("test_batch",),
        partial(cifar_files.parse_python, key="labels"),
    ),
    cifar_files.Version(
        "binary version",
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        ("test_batch.bin",),
        partial(cifar_files.parse_binary, label_bytes=1),
    ),
)


def read(data_dir: Path | None) -> RawSet:
    """Read an official version or else the images, from a folder or an archive."""
    path = require(SPEC, data_dir)
    found = cifar_files.read(SPEC, VERSIONS, path) or image_folder.read(
        SPEC, CLASSES, path
    )
    if found is None:
        raise cifar_files.missing(SPEC, VERSIONS, path, "train/<class>/*.png or *.jpg")
    return found
