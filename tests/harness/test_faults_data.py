"""Damaged, hostile and doubled data: a sentence that names the file, or the same data.

The oracles are the arrays that were written. What is read through is small; what
pretends to be large must not be decoded.
"""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zlib

import data_files
import numpy as np
import pytest
from PIL import Image

from benchmarks.data import cache, cifar10, image_set, pairs, spec

pytestmark = pytest.mark.faults


@pytest.fixture
def small(monkeypatch):
    return data_files.shrink(monkeypatch)


def load_cifar(path):
    return image_set.load("cifar10", path, validation=10, seed=0)


def load_pairs(path):
    return pairs.load("camvid", path, size=8)


LOAD = {"cifar10": load_cifar, "camvid": load_pairs}


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pair_files():
    """Return the files of a set of pairs, by name."""
    rng = np.random.default_rng(0)
    return {
        f"{part}/{kind}/{k}.png": png(rng.integers(11, size=shape, dtype=np.uint8))
        for part in pairs.PARTS
        for kind, shape in (("label", (12, 16)), ("photo", (12, 16, 3)))
        for k in range(2)
    }


def cifar_files(small):
    return {
        f"{part}/{cifar10.CLASSES[label]}/{number}.png": png(image)
        for part, raw in zip(("train", "test"), small["cifar10"], strict=True)
        for number, (image, label) in enumerate(zip(*raw, strict=True))
    }


@pytest.fixture(params=LOAD)
def files(request, small):
    """Return the name of a data set and its files."""
    made = pair_files() if request.param == "camvid" else cifar_files(small)
    return request.param, made


def pack(path, files, *members, mode="w:gz"):
    """Write a tar archive of files, then of members."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return path


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


LINKS = {
    "to nothing": "nothing.png",
    "to itself": "train/{}/link.png",
    "out of it": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", LINKS)
def test_links_in_an_archive(files, tmp_path, target, kind):
    name, made = files
    inner = "photo" if name == "camvid" else "cat"
    member = link(f"train/{inner}/link.png", LINKS[target].format(inner), kind)
    path = pack(tmp_path / "data.tar.gz", made, member)
    with pytest.raises(ValueError, match=rf"{path} is damaged: .*link.png is a link"):
        LOAD[name](path)


def test_a_link_to_a_file_is_followed(tmp_path):
    made = pair_files()
    whole = load_pairs(pack(tmp_path / "whole.tar.gz", made))
    name = "train/photo/1.png"
    del made[name]
    made["train/photo/0.png"] = pair_files()["train/photo/0.png"]
    member = link(name, "train/photo/0.png", tarfile.LNKTYPE)
    linked = load_pairs(pack(tmp_path / "linked.tar.gz", made, member))
    for k in range(2):
        assert (linked.train.photos[k] == whole.train.photos[0]).all()


def outcome(name, path):
    """Return what is read, and the sentence if it is refused."""
    try:
        return LOAD[name](path), None
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)


def check(name, path, made, told):
    """Assert that what is read was written, or that a sentence names the file."""
    found, error = outcome(name, path)
    if error:
        assert told in error
        return
    write_folder(path.parent / "whole", made)
    whole = LOAD[name](path.parent / "whole")
    for part in ("train", "validation", "test"):
        for one, other in zip(getattr(whole, part), getattr(found, part), strict=True):
            np.testing.assert_array_equal(one, other)


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("left", [1, 10, 100, 0.5, 0.99])
@pytest.mark.parametrize("kind", PACKED)
def test_cut_archives(files, tmp_path, kind, left):
    name, made = files
    path = pack(tmp_path / f"data.tar.{kind}", made, mode=f"w:{kind}")
    content = path.read_bytes()
    path.write_bytes(content[: left if left >= 1 else int(left * len(content))])
    check(name, path, made, str(path))


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", PACKED)
def test_flipped_archives(files, tmp_path, kind, where):
    """Each of the three formats has checksums, so a flipped bit is seen."""
    name, made = files
    path = pack(tmp_path / f"data.tar.{kind}", made, mode=f"w:{kind}")
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 16
    path.write_bytes(content)
    check(name, path, made, str(path))


@pytest.mark.parametrize(
    "content", [b"", b"no tar", bytes(10_000), b"\x1f\x8b" + bytes(8)]
)
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "data.tar.gz"
    path.write_bytes(content)
    for load in LOAD.values():
        with pytest.raises((ValueError, FileNotFoundError), match=str(path)):
            load(path)


def bomb(width, height):
    """Return a small PNG file that pretends to this size."""

    def chunk(kind, content):
        checked = kind + content
        return (
            struct.pack(">I", len(content))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min(width * height * 3, 10_000_000)), 9)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("width", "height"),
    [(20_000, 20_000), (13_000, 13_000), (9_000, 9_000), (2**31 - 1, 1)],
)
def test_image_bombs(files, tmp_path, width, height, packed):
    name, made = files
    inner = "train/photo/0.png" if name == "camvid" else "train/cat/bomb.png"
    made[inner] = bomb(width, height)
    path = tmp_path / "data"
    if packed:
        pack(path, made)
    else:
        write_folder(path, made)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=rf"{path}: {inner} (has \d+x\d+ pixels|is no)"
    ):
        LOAD[name](path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # of up to 1.2 GB


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


@pytest.mark.parametrize("left", [0, 1, 8, 20, 33, 60, -20])
def test_cut_images(files, tmp_path, left):
    name, made = files
    first = next(iter(made))
    path = tmp_path / "cut"
    write_folder(path, made | {first: made[first][:left]})
    check(name, path, made, f"{path}: {first} is no image")


@pytest.mark.parametrize("kind", ["label", "photo"])
@pytest.mark.parametrize("packed", [False, True])
def test_two_files_of_one_name(tmp_path, packed, kind):
    made, path = pair_files(), tmp_path / "data"
    suffix = "PNG" if kind == "label" else "jpg"
    made[f"train/{kind}/1.{suffix}"] = made[f"train/{kind}/0.png"]
    if packed:
        pack(path, made)
    else:
        write_folder(path, made)
    with pytest.raises(
        ValueError, match=rf"train/{kind}/1\.\w+ and train/{kind}/1\.\w+, t"
    ):
        load_pairs(path)


def test_one_name_in_two_folders_of_an_archive(files, tmp_path):
    """The last three parts of a name count, so two files are one."""
    name, made = files
    first = next(iter(made))
    made[f"copy/{first}"] = made[first]
    with pytest.raises(ValueError, match=first):
        LOAD[name](pack(tmp_path / "data.tar.gz", made))


@pytest.fixture
def archive(tmp_path):
    """Return an archive of pairs whose arrays are cached, and the cache's file."""
    path = pack(tmp_path / "data.tar.gz", pair_files())
    load_pairs(path)
    (cached,) = (tmp_path / ".decoded").iterdir()
    return path, cached


def overwrite(**arrays):
    return lambda path: np.savez(path, **arrays)


def other_pixels(path):
    with np.load(path) as found:
        arrays = dict(found)
    arrays["train_photos"] = arrays["train_photos"] + np.uint8(1)
    np.savez(path, **arrays)


CACHES = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no archive": lambda path: path.write_bytes(b"mine"),
    "an array": lambda path: np.save(path.open("wb"), np.ones(3)),
    "other names": overwrite(a=np.ones(3)),
    "nothing": overwrite(),
    "other pixels": other_pixels,
    "objects": overwrite(train_labels=np.array([{}], dtype=object)),
}


@pytest.mark.filterwarnings("ignore:unclosed file")  # of the test
@pytest.mark.parametrize("damage", CACHES)
def test_foreign_caches_are_not_read(archive, damage):
    path, cached = archive
    whole = load_pairs(path)
    CACHES[damage](cached)
    again = load_pairs(path)
    for part in ("train", "validation", "test"):
        for one, other in zip(getattr(whole, part), getattr(again, part), strict=True):
            np.testing.assert_array_equal(one, other)
    assert cache.read_sealed(cached, cached.stem) is not None


def test_the_cache_of_another_archive_is_not_read(archive):
    path, cached = archive
    content = cached.read_bytes()
    pack(path, pair_files() | {"train/label/2.png": b"", "note": b""}, mode="w:xz")
    pack(path, pair_files() | {"note": b""}, mode="w:xz")
    load_pairs(path)
    (other,) = set(cached.parent.iterdir()) - {cached}
    other.write_bytes(content)
    assert cache.read_sealed(other, other.stem) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_cache_that_another_user_made_is_not_used(archive, tmp_path, monkeypatch):
    path, cached = archive
    os.chown(cached.parent, 12345, 12345)
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert cached.parent not in list(cache.places(path))


def test_a_cache_that_is_a_link_is_not_used(archive, tmp_path):
    path, cached = archive
    cached.parent.rename(tmp_path / "elsewhere")
    cached.parent.symlink_to(tmp_path / "elsewhere")
    assert cached.parent not in list(cache.places(path))


def test_md5_where_it_is_not_for_security(monkeypatch):
    """A Python built for strict systems allows MD5 only for other uses."""
    seen, md5 = [], spec.hashlib.md5

    def strict(content, **named):
        seen.append(named)
        return md5(content)

    monkeypatch.setattr(spec.hashlib, "md5", strict)
    assert spec.md5(b"") == "d41d8cd98f00b204e9800998ecf8427e"
    assert seen == [{"usedforsecurity": False}]
