"""The official python version of CIFAR: pickles of Python 2, read without trust."""

import io
import pickle
from typing import Any

import numpy as np

from benchmarks.data.cifar_binary import PIXELS, to_images
from benchmarks.data.spec import Raw

RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArrayUnpickler(pickle.Unpickler):
    """Admits built-in containers, strings, numbers and NumPy arrays, no code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(
                f"it wants to import {module}.{name}, which the official files do not"
            )
        return ADMITTED[module, name]


def parse_cifar10(files: list[bytes]) -> Raw:
    return parse(files, "labels")


def parse_cifar100(files: list[bytes]) -> Raw:
    return parse(files, "fine_labels")


def parse(files: list[bytes], key: str) -> Raw:
    """Images and labels of all the files, one behind the other."""
    batches = [unpickle(content, key) for content in files]
    return Raw(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))


def unpickle(content: bytes, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a file; the labels are the list called `key`."""
    try:
        # Python 2 made no difference between text and bytes: latin1 keeps both.
        batch = ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"a file is no pickle of a batch: {error}") from error
    if not isinstance(batch, dict) or not {"data", key} <= batch.keys():
        raise ValueError(f"a file is no dictionary with 'data' and {key!r}")
    pixels, labels = batch["data"], np.asarray(batch[key])
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        raise ValueError("'data' is no array of uint8")
    if pixels.shape != (labels.size, PIXELS) or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"'data' of shape {pixels.shape} with {key!r} of shape {labels.shape}, "
            f"expected (n, {PIXELS}) with (n,)"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{key!r} of type {labels.dtype}, expected integers")
    return to_images(pixels), labels
