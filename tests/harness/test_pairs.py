"""Pairs of label maps and photos: what is read is what was written; the errors."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import pairs

SHARED = Path(__file__).parents[3] / "shared" / "data" / "camvid-256x192.tar.xz"
SIZES = {"train": 3, "val": 2, "test": 1}
SHAPE = (12, 20)  # rows, columns: the middle square has columns 4 to 15


def smooth(rng):
    """Return a photo of squares of 2x2 pixels, which survives halving exactly."""
    quarters = rng.integers(256, size=(SHAPE[0] // 2, SHAPE[1] // 2, 3), dtype=np.uint8)
    return quarters.repeat(2, axis=0).repeat(2, axis=1)


@pytest.fixture
def written(tmp_path):
    """Write pairs; return the folder and (labels, photos) of each part in order."""
    rng = np.random.default_rng(0)
    made = {}
    for part, n in SIZES.items():
        labels = rng.integers(12, size=(n, *SHAPE), dtype=np.uint8)
        photos = np.stack([smooth(rng) for _ in range(n)])
        made[part] = labels, photos
        for kind, arrays in (("label", labels), ("photo", photos)):
            (tmp_path / "data" / part / kind).mkdir(parents=True)
            for k in reversed(range(n)):
                path = tmp_path / "data" / part / kind / f"{k:02}.png"
                Image.fromarray(arrays[k]).save(path)
    return tmp_path / "data", made


def middle(images):
    return images[:, :, 4:16]


def load(path, size=12, **numbers):
    return pairs.load("camvid", path, size=size, **numbers)


def parts(whole):
    return {"train": whole.train, "val": whole.validation, "test": whole.test}


def test_pairs_are_those_written(written):
    folder, made = written
    (folder / "train" / "photo" / "Thumbs.db").write_text("no image")
    whole = load(folder)
    for part, found in parts(whole).items():
        labels, photos = map(middle, made[part])
        np.testing.assert_array_equal(found.labels, labels)
        np.testing.assert_array_equal(found.photos, photos)
    assert (whole.classes, whole.void) == (12, 11)
    assert whole.source == "CamVid (PNG copy, 20x12)"


def test_labels_are_resized_to_the_nearest_and_photos_smoothly(written):
    folder, made = written
    small, large = load(folder, 4), load(folder, 24)
    labels, photos = map(middle, made["train"])
    # the middle of three; every pixel twice
    np.testing.assert_array_equal(small.train.labels, labels[:, 1::3, 1::3])
    np.testing.assert_array_equal(
        large.train.labels, labels.repeat(2, axis=1).repeat(2, axis=2)
    )
    # a triangle as wide as 6 pixels, cut off at the edges of the square and rounded
    distance = (np.arange(12) + 0.5)[None] - 3 * (np.arange(4) + 0.5)[:, None]
    weights = np.maximum(0, 1 - np.abs(distance) / 3)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("ir,jc,nrck->nijk", weights, weights, photos)
    np.testing.assert_allclose(small.train.photos, expected, atol=1.01)


def test_numbers_are_kept_at_even_distances(written):
    folder, made = written
    whole = load(folder, train=2)
    np.testing.assert_array_equal(whole.train.labels, middle(made["train"][0])[:2])
    assert len(load(folder, train=1, validation=1).validation.labels) == 1
    with pytest.raises(ValueError, match="val=3 of 2 pairs; write a number from 1 to"):
        load(folder, validation=3)


def test_tar_is_decoded_once_for_each_size(written, tmp_path, monkeypatch):
    folder, _ = written
    (tmp_path / "archive").mkdir()
    path = tmp_path / "archive" / "pairs.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for part in ("test", "val", "train"):
            tar.add(folder / part, f"./camvid/{part}")
    for size in (12, 4):
        ours, expected = load(path, size), load(folder, size)
        for part, found in parts(ours).items():
            for x, y in zip(found, parts(expected)[part], strict=True):
                np.testing.assert_array_equal(x, y)
        assert ours.source == expected.source
    monkeypatch.setattr(pairs, "decode", None)
    assert load(path, 4).train.labels.shape == (3, 4, 4)
    assert len(list((tmp_path / "archive" / ".decoded").iterdir())) == 2


def test_where_there_is_nothing(tmp_path):
    get = r"Get CamVid .* 11 for what is not labelled.*: --data-dir DIR"
    with pytest.raises(FileNotFoundError, match=f"CamVid: no folder was named. {get}"):
        load(None)
    with pytest.raises(FileNotFoundError, match=f"no folder or tar at .*no. {get}"):
        load(tmp_path / "no")
    with pytest.raises(
        ValueError, match=r"No data set 'kitti'; there is: .*camvid, .*citysc"
    ):
        pairs.load("kitti", tmp_path, size=12)


def test_a_missing_split(written):
    folder, _ = written
    shutil.rmtree(folder / "val")
    with pytest.raises(
        FileNotFoundError, match=f"CamVid: no val/ in {folder}. Get Cam"
    ):
        load(folder)


@pytest.mark.parametrize(("kind", "other"), [("label", "photo"), ("photo", "label")])
def test_a_missing_partner(kind, other, written):
    folder, _ = written
    (folder / "train" / kind / "01.png").unlink()
    match = rf"without a {kind} of the same name in {folder}: train/{other}/01.png\."
    with pytest.raises(FileNotFoundError, match=match):
        load(folder)
    shutil.rmtree(folder / "train" / kind)
    shutil.rmtree(folder / "val" / kind)
    with pytest.raises(FileNotFoundError, match=rf"train/{other}/02.png and 2 more"):
        load(folder)


def spoil(path, image):
    Image.fromarray(image).save(path)


def test_sizes_that_differ(written):
    folder, _ = written
    spoil(folder / "val" / "photo" / "01.png", np.zeros((12, 24, 3), np.uint8))
    match = r"val/label/01.png has 20x12 pixels, val/photo/01.png 24x12; a pair has one"
    with pytest.raises(ValueError, match=match):
        load(folder)


def test_a_class_out_of_range(written):
    folder, _ = written
    spoil(folder / "val" / "label" / "00.png", np.full(SHAPE, 12, np.uint8))
    match = r"val/label/00.png has class 12, expected 0 to 11; what is not labelled is"
    with pytest.raises(ValueError, match=match):
        load(folder)


def test_labels_of_three_channels(written):
    folder, _ = written
    spoil(folder / "val" / "label" / "00.png", np.zeros((*SHAPE, 3), np.uint8))
    match = (
        r"val/label/00.png is an image of mode RGB; write the class of each pixel as"
    )
    with pytest.raises(ValueError, match=match):
        load(folder)


def test_a_file_that_is_no_image(written):
    folder, _ = written
    (folder / "test" / "photo" / "00.png").write_text("no image")
    with pytest.raises(
        ValueError, match=r"test/photo/00.png is no image: cannot ident"
    ):
        load(folder)


@pytest.mark.skipif(not SHARED.is_file(), reason=f"no CamVid copy: {SHARED}")
def test_real_camvid_copy():
    whole = load(SHARED, 64)
    assert whole.source == "CamVid (JPEG copy, 256x192)"
    sizes = {part: len(found.labels) for part, found in parts(whole).items()}
    assert sizes == {"train": 367, "val": 101, "test": 233}
    for found in parts(whole).values():
        np.testing.assert_array_equal(np.unique(found.labels), np.arange(12))
        assert found.photos.shape == (len(found.labels), 64, 64, 3)
