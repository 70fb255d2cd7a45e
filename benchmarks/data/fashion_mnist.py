"""Fashion-MNIST as the four official idx files, gzipped or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from benchmarks.data.spec import ImageSpec, RawImages, RawSet, md5

SPEC = ImageSpec(
    "Fashion-MNIST",
    (28, 28, 1),
    10,
    train=60_000,
    test=10_000,
    get="On Debian: apt install dataset-fashion-mnist; or get the four files from "
    "https://github.com/zalandoresearch/fashion-mnist and name their folder: "
    "--data-dir DIR.",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

# Of the uncompressed files. The published checksums are of the compressed ones, which
# Debian ships without the name and the date in their headers; with these put back they
# have the published checksums.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def read(data_dir: Path | None) -> RawSet:
    """Read both parts from a folder; None is that of Debian's package."""
    folder = DEBIAN if data_dir is None else data_dir
    train, test = (read_part(folder, prefix) for prefix in ("train", "t10k"))
    return RawSet(train, test, f"{SPEC.title} (official idx files)")


def read_part(folder: Path, prefix: str) -> RawImages:
    images = read_file(folder, f"{prefix}-images-idx3-ubyte")
    labels = read_file(folder, f"{prefix}-labels-idx1-ubyte")
    return RawImages(images[..., np.newaxis], labels)


def read_file(folder: Path, name: str) -> np.ndarray:
    """Return the uint8 array in an idx file, NAME.gz or NAME."""
    paths = (folder / f"{name}.gz", folder / name)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{SPEC.title}: no file {name}.gz or {name} in {folder}. {SPEC.get}"
        )
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{SPEC.title}: {path} is damaged: {error}. {SPEC.get}"
        ) from error
    found = md5(content)
    if found != MD5[name]:
        raise ValueError(
            f"{SPEC.title}: the content of {path} has md5 {found}, the official one "
            f"{MD5[name]}; it is another data set or damaged. {SPEC.get}"
        )
    axes = content[3]  # then their sizes, big-endian, and the values
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
