"""Errors of the data sets: what was wrong, where, and what to do about it."""

import gzip
import pickle
import shutil
from pathlib import Path

import choose_strength
import data_files
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from benchmarks.data import cifar10, cifar_files, digits, image_set, spec


@pytest.fixture
def small(monkeypatch):
    return data_files.shrink(monkeypatch)


@pytest.fixture
def images_tar(small, tmp_path):
    return data_files.write_tar(tmp_path, *small["cifar10"])


def test_unknown_name():
    with pytest.raises(
        ValueError,
        match=r"No data set 'mnist'; there is: .*cifar10, cifar100, .*digits, .*fash",
    ):
        image_set.load("mnist", None, validation=10, seed=0)


def test_digits_of_other_pixels_are_refused(monkeypatch):
    halved = load_digits()
    halved.images = halved.images / 2
    monkeypatch.setattr(digits, "load_digits", lambda: halved)
    match = r"digits: pixels in \[0\.0, 8\.0\], expected \[0, 16\]\. Reinstall"
    with pytest.raises(ValueError, match=match):
        image_set.load("digits", None, validation=360, seed=0)


@pytest.mark.parametrize("number", [10, 100])
def test_missing_cifar(number, tmp_path):
    def load(path):
        image_set.load(f"cifar{number}", path, validation=100, seed=0)

    get = rf"Get cifar-{number}-python\.tar\.gz .* from https://.*--data-dir DIR"
    with pytest.raises(FileNotFoundError, match=f"no folder was named. {get}"):
        load(None)
    none = rf"none of cifar-{number}-.*, cifar-{number}-binary\.tar\.gz"
    with pytest.raises(FileNotFoundError, match=f"{none}.* in {tmp_path}. {get}"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{none}.* at {tmp_path}/no. {get}"):
        load(tmp_path / "no")


def test_missing_batches(small, tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    data_files.write_python(folder, "cifar10", *small["cifar10"])
    (folder / "data_batch_1").unlink()
    (folder / "test_batch").unlink()
    match = (
        f"no data_batch_1, test_batch in {folder}; unpack cifar-10-python.tar.gz again"
    )
    with pytest.raises(FileNotFoundError, match=match):
        image_set.load("cifar10", tmp_path, validation=10, seed=0)


ARCHIVES = [name for name in cifar_files.MD5 if name.endswith(".tar.gz")]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_wrong_checksum(archive, tmp_path):
    (tmp_path / archive).write_bytes(b"half a download")
    name = "cifar100" if "100" in archive else "cifar10"
    expected = cifar_files.MD5[archive]
    match = rf"{archive} has md5 \w+, the official file {expected}; it is dam"
    with pytest.raises(ValueError, match=match):
        image_set.load(name, tmp_path, validation=100, seed=0)


class Evil:
    def __reduce__(self):
        return eval, ("1 / 0",)


def test_a_pickle_runs_no_code():
    """Code is refused even in a file with the official checksum."""
    match = r"it wants to import __builtin__\.eval, which the official files do not"
    with pytest.raises(pickle.UnpicklingError, match=match):
        cifar_files.parse_python([pickle.dumps(Evil(), 2)], "labels")


def test_cut_binary_file(small, tmp_path):
    folder = tmp_path / "cifar-100-binary"
    data_files.write_binary(folder, "cifar100", *small["cifar100"])
    content = (folder / "test.bin").read_bytes()
    (folder / "test.bin").write_bytes(content[:-1])
    match = f"{folder}: a file of 307399 bytes, expected a multiple of 3074"
    with pytest.raises(ValueError, match=match):
        image_set.load("cifar100", tmp_path, validation=100, seed=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: (x[:-1], y[:-1]), r"images of shape \(19, 32, 32, 3\), expected"),
        (
            lambda x, y: (x[..., :1], y),
            r"expected \(20, 32, 32, 3\), in test from here",
        ),
        (lambda x, y: (x, y[:-1]), r"labels of shape \(19,\), expected \(20,\)"),
        (lambda x, y: (x, y + 1), "labels from 1 to 10, expected 0 to 9"),
        (lambda x, y: (x, y - 1), "labels from -1 to 8, expected 0 to 9"),
        (lambda x, y: (x, np.sort(y) // 2), "0 to 4 images a class, expected about 2 "),
        (lambda x, y: (x * 0, y), r"nothing but pixels of value 0 in test.* Get cifar"),
    ],
)
def test_wrong_contents(change, match, small):
    train, test = small["cifar10"]
    source = spec.RawSet(train, spec.RawImages(*change(*test)), "changed")
    with pytest.raises(ValueError, match=match):
        spec.check_set(cifar10.SPEC, source, Path("here"))


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch"])
def test_unpacked_files_have_checksums(name, small, tmp_path, monkeypatch):
    """One pixel is another: the file is a batch, but not the official one."""
    folder = tmp_path / "cifar-10-batches-py"
    data_files.write_python(folder, "cifar10", *small["cifar10"])
    data_files.admit_python(monkeypatch, folder)
    image_set.load("cifar10", tmp_path, validation=10, seed=0)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} has md5 \w+, the official file"):
        image_set.load("cifar10", tmp_path, validation=10, seed=0)


def test_wrong_folders_of_images(small, tmp_path):
    def load():
        image_set.load("cifar10", tmp_path, validation=10, seed=0)

    data_files.write_images(tmp_path, *small["cifar10"])
    one = next((tmp_path / "train" / "cat").iterdir())
    image = one.read_bytes()
    one.write_bytes(image[:100])
    with pytest.raises(ValueError, match=rf"train/cat/{one.name} is no image"):
        load()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(one)
    with pytest.raises(
        ValueError, match=r"has shape \(8, 8, 3\), expected \(32, 32, 3"
    ):
        load()
    one.write_bytes(image)
    shutil.copytree(tmp_path / "test" / "cat", tmp_path / "test" / "lion")
    with pytest.raises(ValueError, match=r"folders that are no class: lion; the cl"):
        load()
    shutil.rmtree(tmp_path / "test" / "lion")
    shutil.rmtree(tmp_path / "test" / "cat")
    with pytest.raises(FileNotFoundError, match=r"no images .* of cat in test/ of"):
        load()


def test_damaged_tar_of_images(images_tar):
    content = images_tar.read_bytes()
    images_tar.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{images_tar} is damaged: "):
        image_set.load("cifar10", images_tar, validation=10, seed=0)


def test_missing_idx_file(tmp_path):
    match = (
        rf"no file train-images-idx3-ubyte.gz or train-images-idx3-ubyte in {tmp_path}"
        ".*apt install dataset-fashion-mnist"
    )
    with pytest.raises(FileNotFoundError, match=match):
        image_set.load("fashion-mnist", tmp_path, validation=10, seed=0)


def test_wrong_idx_file(small, tmp_path, monkeypatch):
    data_files.write_idx(tmp_path, *small["fashion-mnist"])
    data_files.admit_idx(monkeypatch, tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte"
    content = path.read_bytes()
    for wrong in (b"", b"GIF89a", content[:-1], content[:-1] + b"\x0b"):
        path.write_bytes(wrong)
        match = rf"content of {path} has md5 \w+, the official one \w+; it is another"
        with pytest.raises(ValueError, match=match):
            image_set.load("fashion-mnist", tmp_path, validation=10, seed=0)


def test_damaged_gzip(small, tmp_path, monkeypatch):
    data_files.write_idx(tmp_path, *small["fashion-mnist"])
    data_files.admit_idx(monkeypatch, tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    for content in (packed[:-20], b"no gzip", packed[:50] + b"?" * 9 + packed[59:]):
        path.with_name(f"{path.name}.gz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path}.gz is damaged: "):
            image_set.load("fashion-mnist", tmp_path, validation=10, seed=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": load_digits().images[:5]}, r"images of shape \(5, 8, 8, 1\)"),
        ({"images": np.ones((1797, 8, 8))}, r"pixels in \[1\.0, 1\.0\], expected"),
        ({"target": np.zeros(1797, int)}, "0 to 1797 images a class"),
        ({"target": np.zeros(5)}, r"labels of shape \(5,\).*Reinstall scikit"),
    ],
)
def test_wrong_digits_are_refused(change, match, monkeypatch):
    changed = load_digits() | change
    monkeypatch.setattr(digits, "load_digits", lambda: Bunch(**changed))
    with pytest.raises(ValueError, match=match):
        image_set.load("digits", None, validation=360, seed=0)


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"validation": 9}, "validation=9 of 1437 images with 10 classes; write a num"),
        ({"validation": 1428}, r"validation=1428 .* from 10 to 1427"),
        ({"validation": 360, "train": 1068}, r"train=1068 of 1077 .* from 10 to 1067"),
        ({"validation": 360, "train": 0}, "train=0 of 1077"),
        ({"validation": 360, "test": 1797}, "test=1797 of 1797"),
    ],
)
def test_impossible_sizes(sizes, match):
    with pytest.raises(ValueError, match=match):
        image_set.load("digits", None, seed=0, **sizes)


def test_an_example_says_how_to_get_fashion_mnist(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        choose_strength.main(
            tiny=True, out=tmp_path, data_dir=tmp_path, data="fashion-mnist"
        )
