"""The official binary version of CIFAR: records of label bytes and 3072 pixels."""

import numpy as np

from benchmarks.data.spec import Raw

PIXELS = 3 * 32 * 32


def parse_cifar10(files: list[bytes]) -> Raw:
    return parse(files, label_bytes=1)


def parse_cifar100(files: list[bytes]) -> Raw:
    return parse(files, label_bytes=2)


def parse(files: list[bytes], label_bytes: int) -> Raw:
    """Images and the last of the labels: of CIFAR-100's coarse and fine, the fine."""
    record = label_bytes + PIXELS
    for content in files:
        if len(content) % record:
            raise ValueError(
                f"a file of {len(content)} bytes, expected a multiple of {record}"
            )
    values = np.frombuffer(b"".join(files), np.uint8).reshape(-1, record)
    return Raw(to_images(values[:, label_bytes:]), values[:, label_bytes - 1])


def to_images(pixels: np.ndarray) -> np.ndarray:
    """Rows of 1024 red, 1024 green and 1024 blue pixels as (n, 32, 32, 3)."""
    planes = pixels.reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
