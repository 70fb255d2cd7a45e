"""Fashion-MNIST as the four official idx files, gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from benchmarks.data.spec import Raw, Source, Spec, check_source, md5

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
UINT8 = 0x08

# Of the uncompressed files. The published checksums are of the compressed ones, which
# Debian ships without the name and the date in their headers; with these put back they
# have the published checksums.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def read(spec: Spec, data_dir: Path | None) -> Source:
    """Both parts, checked.

    Args:
      spec: what to expect.
      data_dir: the folder; None for the one of Debian's package.
    """
    folder = DEBIAN if data_dir is None else data_dir
    train, test = (read_part(spec, folder, prefix) for prefix in ("train", "t10k"))
    source = Source(train, test, f"{spec.title} (official idx files)")
    return check_source(spec, source, folder)


def read_part(spec: Spec, folder: Path, prefix: str) -> Raw:
    images = read_file(spec, folder, f"{prefix}-images-idx3-ubyte", axes=3)
    labels = read_file(spec, folder, f"{prefix}-labels-idx1-ubyte", axes=1)
    return Raw(images[..., np.newaxis], labels)


def read_file(spec: Spec, folder: Path, name: str, axes: int) -> np.ndarray:
    """The array in an idx file, NAME.gz or NAME."""
    path = next(
        (path for path in (folder / f"{name}.gz", folder / name) if path.is_file()),
        None,
    )
    if path is None:
        raise FileNotFoundError(
            f"{spec.title}: no file {name}.gz or {name} in {folder}. {spec.get}"
        )
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        array = parse(content, axes)
    except (gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(
            f"{spec.title}: {path} is damaged or no idx file: {error}. {spec.get}"
        ) from error
    found = md5(content)
    if found != MD5[name]:
        raise ValueError(
            f"{spec.title}: the content of {path} has md5 {found}, the official one "
            f"{MD5[name]}; it is another data set or damaged. {spec.get}"
        )
    return array


def parse(content: bytes, axes: int) -> np.ndarray:
    """The uint8 array of an idx file: magic number, big-endian sizes, values."""
    magic = bytes((0, 0, UINT8, axes))
    start = 4 + 4 * axes
    if content[:4] != magic or len(content) < start:
        raise ValueError(f"it starts with {content[:4].hex()}, expected {magic.hex()}")
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{len(content) - start} bytes of values, expected {math.prod(shape)} for "
            f"shape {tuple(shape)}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
