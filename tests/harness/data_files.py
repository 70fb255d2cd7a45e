"""Writes the data sets' official formats, with random images in small numbers."""

import gzip
import pickle
import shutil
import struct
import tarfile

import numpy as np
from PIL import Image

from benchmarks import data
from benchmarks.data import cifar10, cifar_files, fashion_mnist, spec

SIZES = {"fashion-mnist": (40, 20), "cifar10": (40, 20), "cifar100": (400, 100)}


def shrink(monkeypatch):
    """Make the data sets expect few images; return such by name, (train, test)."""
    rng = np.random.default_rng(0)
    made = {}
    for name, (train, test) in SIZES.items():
        module = data.find(name, spec.ImageSpec)
        few = module.SPEC._replace(train=train, test=test)
        monkeypatch.setattr(module, "SPEC", few)
        made[name] = tuple(random_images(rng, few, size) for size in (train, test))
    return made


def random_images(rng, whole, size):
    images = rng.integers(256, size=(size, *whole.shape), dtype=np.uint8)
    return spec.RawImages(images, rng.permutation(np.arange(size) % whole.classes))


class Python2Pickler(pickle._Pickler):
    """A pickler that writes as Python 2 did: one type for text and bytes."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 (as in the base class)

    def save_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string

    def save_global(self, obj, name=None):
        module = "numpy" if isinstance(obj, type) else "numpy.core.multiarray"
        self.write(pickle.GLOBAL + f"{module}\n{obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch[type] = save_global


def write_pickle(path, batch):
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(batch)


def rows(images):
    """Return pixels of shape (n, 3072): a red, a green and a blue plane."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_python(folder, name, train, test):
    """Write the official python version, unpacked."""
    folder.mkdir()
    parts = {"train": train, "test": test}
    if name == "cifar10":
        batches = zip(*(np.split(array, 5) for array in train), strict=True)
        parts = {
            f"data_batch_{k}": spec.RawImages(*b) for k, b in enumerate(batches, 1)
        }
        parts["test_batch"] = test
    for part, raw in parts.items():
        labels = raw.labels.tolist()
        batch = {"batch_label": part, "data": rows(raw.images)}
        if name == "cifar10":
            batch["labels"] = labels
        else:
            batch["coarse_labels"] = [label // 5 for label in labels]
            batch["fine_labels"] = labels
        write_pickle(folder / part, batch)


def write_binary(folder, name, train, test):
    """Write the official binary version, unpacked."""
    folder.mkdir()
    for part, raw in {"train": train, "test": test}.items():
        coarse = [] if name == "cifar10" else [raw.labels[:, None] // 5]
        columns = [*coarse, raw.labels[:, None], rows(raw.images)]
        records = np.concatenate(columns, axis=1).astype(np.uint8)
        if name == "cifar100":
            (folder / f"{part}.bin").write_bytes(records.tobytes())
        elif part == "test":
            (folder / "test_batch.bin").write_bytes(records.tobytes())
        else:
            for k, batch in enumerate(np.split(records, 5), 1):
                (folder / f"data_batch_{k}.bin").write_bytes(batch.tobytes())


def write_images(folder, train, test, suffix=".png"):
    for part, raw in {"train": train, "test": test}.items():
        for number, (image, label) in enumerate(zip(*raw, strict=True)):
            path = folder / part / cifar10.CLASSES[label] / f"{number:04}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def write_tar(folder, train, test):
    """Write an archive of images, in an order of its own, alone in a folder."""
    write_images(folder / "images", train, test)
    path = folder / "archive" / "images.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as tar:
        for part in ("test", "train"):
            tar.add(folder / "images" / part, f"./cifar/{part}")
    return path


def write_idx(folder, train, test, suffix=""):
    for prefix, raw in {"train": train, "t10k": test}.items():
        for name, values in {
            f"{prefix}-images-idx3-ubyte": raw.images[..., 0],
            f"{prefix}-labels-idx1-ubyte": raw.labels.astype(np.uint8),
        }.items():
            sizes = struct.pack(f">{values.ndim}I", *values.shape)
            content = bytes((0, 0, 8, values.ndim)) + sizes + values.tobytes()
            packed = gzip.compress(content) if suffix else content
            (folder / f"{name}{suffix}").write_bytes(packed)


def admit_idx(monkeypatch, folder):
    """Take the checksums of the files in the folder for the official ones."""
    for name in fashion_mnist.MD5:
        content = (folder / name).read_bytes()
        monkeypatch.setitem(fashion_mnist.MD5, name, spec.md5(content))


def admit_python(monkeypatch, folder):
    """Take the checksums of an unpacked version for the official ones."""
    for name in cifar_files.MD5:
        if (folder / name).is_file():
            md5 = spec.md5((folder / name).read_bytes())
            monkeypatch.setitem(cifar_files.MD5, name, md5)


def pack(monkeypatch, folder, archive):
    """Pack the folder, and take the archive's checksum for the official one."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setitem(cifar_files.MD5, archive.name, spec.md5(archive.read_bytes()))
    shutil.rmtree(folder)
