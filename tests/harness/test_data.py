"""The data sets: every format in small files, the checks, the splits, the real files.

The oracles are the arrays that the tests wrote into the files.
"""

import shutil
import tempfile
from pathlib import Path

import data_files
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks.data import (
    cifar10,
    cifar100,
    fashion_mnist,
    image_folder,
    image_set,
    spec,
)

JPEG_COPY = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"


@pytest.fixture
def small(monkeypatch):
    return data_files.shrink(monkeypatch)


@pytest.fixture
def images_tar(small, tmp_path):
    return data_files.write_tar(tmp_path, *small["cifar10"])


def assert_equal(found, train, test):
    for ours, written in zip(found[:2], (train, test), strict=True):
        np.testing.assert_array_equal(ours.images, written.images)
        np.testing.assert_array_equal(ours.labels, written.labels)


def by_class(raw):
    """Order images as those of a folder are."""
    order = np.argsort(raw.labels, kind="stable")
    return spec.RawImages(raw.images[order], raw.labels[order])


CIFAR = {"cifar10": cifar10, "cifar100": cifar100}
WRITE = {
    "python version": data_files.write_python,
    "binary version": data_files.write_binary,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("name", CIFAR)
def test_official_cifar(name, version, packed, small, tmp_path, monkeypatch):
    chosen = CIFAR[name].VERSIONS[version]
    folder = tmp_path / chosen.folder
    WRITE[chosen.title](folder, name, *small[name])
    data_files.admit_python(monkeypatch, folder)
    places = [tmp_path, folder]
    if packed:
        places[1] = tmp_path / chosen.archive
        data_files.pack(monkeypatch, folder, places[1])
    for place in places:
        found = CIFAR[name].read(place)
        assert_equal(found, *small[name])
        state = "" if packed else "unpacked "
        assert found.source == f"{CIFAR[name].SPEC.title} ({state}{chosen.title})"


def test_folder_of_images(small, tmp_path):
    data_files.write_images(tmp_path, *small["cifar10"])
    (tmp_path / "train" / "cat" / "Thumbs.db").write_text("no image")
    found = cifar10.read(tmp_path)
    assert_equal(found, *map(by_class, small["cifar10"]))
    assert found.source == "CIFAR-10 (PNG copy)"


def test_a_lossy_copy_is_called_so(small, tmp_path):
    data_files.write_images(tmp_path, *small["cifar10"], suffix=".jpg")
    found = cifar10.read(tmp_path)
    assert found.source == "CIFAR-10 (JPEG copy)"
    for ours, written in zip(found[:2], small["cifar10"], strict=True):
        np.testing.assert_array_equal(ours.labels, by_class(written).labels)


def read_tar(path, small):
    found = cifar10.read(path)
    assert_equal(found, *map(by_class, small["cifar10"]))
    assert found.source == "CIFAR-10 (PNG copy)"


def test_tar_of_images_is_decoded_once(small, images_tar, monkeypatch):
    read_tar(images_tar, small)
    (cached,) = (images_tar.parent / ".decoded").iterdir()
    whole = cached.read_bytes()
    cached.write_bytes(whole[: len(whole) // 2])
    read_tar(images_tar, small)
    assert len(cached.read_bytes()) == len(whole)
    monkeypatch.setattr(image_folder, "decode", None)
    read_tar(images_tar, small)


def test_cache_of_a_read_only_folder_is_temporary(
    small, images_tar, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    images_tar.parent.chmod(0o555)
    read_tar(images_tar, small)
    assert list(images_tar.parent.iterdir()) == [images_tar]
    assert len(list(tmp_path.glob("prox_optax-*/*.npz"))) == 1
    images_tar.parent.chmod(0o755)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(suffix, small, tmp_path, monkeypatch):
    data_files.write_idx(tmp_path, *small["fashion-mnist"])
    data_files.admit_idx(monkeypatch, tmp_path)
    if suffix:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        data_files.write_idx(tmp_path, *small["fashion-mnist"], suffix)
    found = fashion_mnist.read(tmp_path)
    assert_equal(found, *small["fashion-mnist"])
    assert found.source == "Fashion-MNIST (official idx files)"


def test_digits_are_split_and_normalised():
    whole = image_set.load("digits", None, validation=360, seed=0)
    parts = (whole.train, whole.validation, whole.test)
    assert [len(split.labels) for split in parts] == [1077, 360, 360]
    for split in parts:
        assert split.images.shape == (len(split.labels), 8, 8, 1)
        assert split.images.dtype == jnp.uint8
        assert split.labels.dtype == jnp.int32
        share = np.bincount(split.labels, minlength=10) / len(split.labels)
        np.testing.assert_allclose(share, 0.1, atol=0.005)
    pixels = np.concatenate([split.images for split in parts]).reshape(1797, 64)
    raw = load_digits().data
    np.testing.assert_array_equal(np.unique(pixels, axis=0), np.unique(raw, axis=0))
    # Divisions by 16 are exact.
    np.testing.assert_array_equal(
        whole.normalise(whole.test.images), np.asarray(whole.test.images) / 16
    )
    assert whole.classes == 10
    assert whole.source == "scikit-learn's digits"


def test_splits_are_disjoint_stratified_and_seeded(small, tmp_path):
    data_files.write_binary(
        tmp_path / "cifar-10-batches-bin", "cifar10", *small["cifar10"]
    )

    def load(seed, **sizes):
        return image_set.load("cifar10", tmp_path, validation=10, seed=seed, **sizes)

    def identify(split):
        return {image.tobytes() for image in np.asarray(split.images)}

    written, official = small["cifar10"]
    whole, part = load(0), load(0, train=20, test=10)
    assert identify(whole.test) == identify(official)
    assert identify(part.test) < identify(official)
    assert identify(whole.train) | identify(whole.validation) == identify(written)
    assert not identify(whole.train) & identify(whole.validation)
    assert identify(part.validation) == identify(whole.validation)
    assert identify(part.train) < identify(whole.train)
    assert identify(load(1).validation) != identify(whole.validation)
    for split, n in ((part.train, 2), (part.validation, 1), (part.test, 1)):
        np.testing.assert_array_equal(np.bincount(split.labels), [n] * 10)
    labels = {i.tobytes(): label for i, label in zip(*written, strict=True)}
    for image, label in zip(part.train.images, part.train.labels, strict=True):
        assert labels[np.asarray(image).tobytes()] == label


def test_mean_and_deviation_are_of_the_kept_train_pixels(small, tmp_path):
    data_files.write_binary(
        tmp_path / "cifar-10-batches-bin", "cifar10", *small["cifar10"]
    )
    part = image_set.load("cifar10", tmp_path, validation=10, train=20, seed=0)
    pixels = np.asarray(part.train.images, np.float64)
    # float32 holds 7 digits.
    np.testing.assert_allclose(part.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(part.std, pixels.std((0, 1, 2)), rtol=1e-6)
    seen = np.asarray(part.normalise(part.train.images))
    assert seen.dtype == np.float32
    # Sums of 20480 float32 numbers of order 1.
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, atol=1e-4)


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN.is_dir(),
    reason=f"no {fashion_mnist.DEBIAN}: apt install dataset-fashion-mnist",
)
def test_real_fashion_mnist():
    whole = image_set.load("fashion-mnist", None, validation=5000, train=6000, seed=0)
    for split, n in (
        (whole.train, 6000),
        (whole.validation, 5000),
        (whole.test, 10000),
    ):
        assert split.images.shape == (n, 28, 28, 1)
        np.testing.assert_array_equal(np.bincount(split.labels), [n // 10] * 10)
    # As often quoted of all of train: 0.2860 and 0.3530 of 255; here of a tenth of it.
    np.testing.assert_allclose(whole.mean / 255, [0.2860], atol=0.005)
    np.testing.assert_allclose(whole.std / 255, [0.3530], atol=0.005)


@pytest.mark.slow
@pytest.mark.skipif(not JPEG_COPY.is_file(), reason=f"no CIFAR-10 copy: {JPEG_COPY}")
def test_real_cifar10_copy():
    whole = image_set.load("cifar10", JPEG_COPY, validation=5000, seed=0)
    assert whole.source == "CIFAR-10 (JPEG copy)"
    for split, n in (
        (whole.train, 45000),
        (whole.validation, 5000),
        (whole.test, 10000),
    ):
        assert split.images.shape == (n, 32, 32, 3)
        np.testing.assert_array_equal(np.bincount(split.labels), [n // 10] * 10)
    # As often quoted of all of train: (0.4914, 0.4822, 0.4465) of 255.
    np.testing.assert_allclose(whole.mean / 255, [0.4914, 0.4822, 0.4465], atol=0.005)
