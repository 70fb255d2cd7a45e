"""Label maps and photos: SPLIT/label/NAME.png, SPLIT/photo/NAME.jpg, or a tar of it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.data import cache
from benchmarks.data.image_folder import (
    KINDS,
    files_in_folder,
    files_in_tar,
    is_tar,
    open_image,
)

PARTS = ("train", "val", "test")
ONE_CHANNEL = ("L", "P")  # grey, or indices with a palette
NAMED = 3  # files in an error
MOST = 50_000_000  # pixels of an image


class PairSpec(NamedTuple):
    """What a data set of pairs holds.

    Attributes:
      title: its name in reports and errors.
      classes: labels are 0 to classes - 1.
      void: the class of what is not labelled, which no score counts.
      get: a sentence that says how to get it.
    """

    title: str
    classes: int
    void: int
    get: str


def get(what: str, void: int) -> str:
    return (
        f"Get {what}; write train/, val/ and test/, each with label/NAME.png (one "
        f"channel of classes, {void} for what is not labelled) and photo/NAME.jpg, and "
        "name the folder, or a tar archive of it: --data-dir DIR."
    )


SPECS = {
    "camvid": PairSpec("CamVid", 12, 11, get("CamVid with its 11 classes", 11)),
    "cityscapes": PairSpec(
        "Cityscapes", 20, 19, get("Cityscapes with its 19 train classes", 19)
    ),
}


class Pairs(NamedTuple):
    """Label maps and their photos.

    Attributes:
      labels: uint8, shape (n, size, size).
      photos: uint8, shape (n, size, size, 3).
    """

    labels: jax.Array
    photos: jax.Array


class PairSet(NamedTuple):
    """Three disjoint splits.

    Attributes:
      train: what the parameters are fitted to.
      validation: what the learning rate is chosen on.
      test: for the final scores, once.
      classes: labels are 0 to classes - 1.
      void: the class of what is not labelled.
      source: what was read, for reports: a lossy copy is called so.
    """

    train: Pairs
    validation: Pairs
    test: Pairs
    classes: int
    void: int
    source: str


def load(
    name: str,
    data_dir: Path | None,
    *,
    size: int,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> PairSet:
    """Read, check and cut a data set of pairs; the arrays are on the default device.

    Of each pair the middle square is taken and resized: the photo with antialiasing,
    the label map to the nearest pixel.

    Args:
      name: 'camvid' or 'cityscapes'.
      data_dir: the folder that holds train/, val/ and test/, or a tar archive of it,
        whose resized arrays are cached.
      size: pixels a side.
      train: number of pairs to keep, at even distances in the order of their names;
        None keeps all.
      validation: the same of val/.
      test: the same of test/.

    Raises:
      FileNotFoundError: a file or its partner is missing.
      ValueError: a file holds something else, or a number of pairs is impossible.
    """
    if name not in SPECS:
        raise ValueError(f"No pairs {name!r}; there is: {', '.join(SPECS)}")
    spec = SPECS[name]
    arrays = read(spec, data_dir, size)
    return PairSet(
        keep(arrays, "train", train),
        keep(arrays, "val", validation),
        keep(arrays, "test", test),
        spec.classes,
        spec.void,
        f"{spec.title} ({arrays['copy']})",
    )


def keep(arrays: cache.Arrays, part: str, number: int | None) -> Pairs:
    """So many pairs of a part, at even distances."""
    labels, photos = arrays[f"{part}_labels"], arrays[f"{part}_photos"]
    n = len(labels)
    number = n if number is None else number
    if not 1 <= number <= n:
        raise ValueError(f"{part}={number} of {n} pairs; write a number from 1 to {n}.")
    index = np.arange(number) * n // number
    return Pairs(jnp.asarray(labels[index]), jnp.asarray(photos[index]))


def read(spec: PairSpec, path: Path | None, size: int) -> cache.Arrays:
    """Labels and photos of every part, and `copy`, what the files are."""
    if path is None:
        raise FileNotFoundError(f"{spec.title}: no folder was named. {spec.get}")
    if path.is_dir():
        return decode(spec, files_in_folder(path, PARTS), path, size)
    if path.is_file() and is_tar(spec.title, path):
        files = files_in_tar(spec.title, path, PARTS)
        return cache.cached(
            path, lambda: decode(spec, files, path, size), f"-{spec.title}-{size}"
        )
    raise FileNotFoundError(f"{spec.title}: no folder or tar at {path}. {spec.get}")


class Cut(NamedTuple):
    """The middle square of an image, resized; the file, and its size, for errors."""

    pixels: np.ndarray
    file: PurePosixPath
    whole: tuple[int, int]


Key = tuple[str, str]  # part and name


def decode(
    spec: PairSpec,
    files: Iterator[tuple[PurePosixPath, bytes]],
    where: Path,
    size: int,
) -> cache.Arrays:
    """The arrays of all parts, ordered by name, whatever the order of the files."""
    labels: dict[Key, Cut] = {}
    photos: dict[Key, Cut] = {}
    for file, content in files:
        part, kind, _ = file.parts
        if kind == "label" and file.suffix.lower() == ".png":
            check_new(spec, labels, (part, file.stem), file, where)
            image = open_image(spec.title, content, f"{where}: {file}", MOST)
            check_classes(spec, image, f"{where}: {file}")
            nearest = Image.Resampling.NEAREST
            labels[part, file.stem] = cut(image, size, nearest, file)
        elif kind == "photo" and file.suffix.lower() in KINDS:
            check_new(spec, photos, (part, file.stem), file, where)
            image = open_image(spec.title, content, f"{where}: {file}", MOST)
            bilinear = Image.Resampling.BILINEAR  # antialiased where it shrinks
            photos[part, file.stem] = cut(image.convert("RGB"), size, bilinear, file)
    check_pairs(spec, labels, photos, where)
    keys = sorted(photos)
    kind = KINDS[photos[keys[0]].file.suffix.lower()]
    width, height = photos[keys[0]].whole
    arrays = {"copy": np.asarray(f"{kind} copy, {width}x{height}")}
    for part in PARTS:
        for name, cuts in (("labels", labels), ("photos", photos)):
            pixels = [cuts[key].pixels for key in keys if key[0] == part]
            arrays[f"{part}_{name}"] = np.stack(pixels)
    return arrays


def check_new(
    spec: PairSpec, found: dict[Key, Cut], key: Key, file: PurePosixPath, where: Path
) -> None:
    """Raise if there is another file of this name."""
    if key in found:
        raise ValueError(
            f"{spec.title}: {where} holds {found[key].file} and {file}, two files of "
            "one name; remove one."
        )


def cut(
    image: Image.Image, size: int, resample: Image.Resampling, file: PurePosixPath
) -> Cut:
    """The middle square of an image, resized."""
    width, height = image.size
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    square = image.crop((left, upper, left + side, upper + side))
    return Cut(np.asarray(square.resize((size, size), resample)), file, image.size)


def check_classes(spec: PairSpec, image: Image.Image, where: str) -> None:
    """Raise unless an image holds classes of the data set."""
    if image.mode not in ONE_CHANNEL:
        raise ValueError(
            f"{spec.title}: {where} is an image of mode {image.mode}; write the class "
            f"of each pixel as one channel of 8 bits, 0 to {spec.classes - 1}."
        )
    largest = int(np.asarray(image).max())
    if largest >= spec.classes:
        raise ValueError(
            f"{spec.title}: {where} has class {largest}, expected 0 to "
            f"{spec.classes - 1}; what is not labelled is {spec.void}."
        )


def check_pairs(
    spec: PairSpec, labels: dict[Key, Cut], photos: dict[Key, Cut], where: Path
) -> None:
    """Raise unless there are pairs of equal size in every part, and nothing else."""
    for part in PARTS:
        if not any(key[0] == part for key in (*labels, *photos)):
            raise FileNotFoundError(f"{spec.title}: no {part}/ in {where}. {spec.get}")
    for has, lacks, kind in ((labels, photos, "photo"), (photos, labels, "label")):
        alone = [str(has[key].file) for key in sorted(has.keys() - lacks.keys())]
        if alone:
            more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
            raise FileNotFoundError(
                f"{spec.title}: without a {kind} of the same name in {where}: "
                f"{', '.join(alone[:NAMED])}{more}."
            )
    for key, label in labels.items():
        photo = photos[key]
        if label.whole != photo.whole:
            raise ValueError(
                f"{spec.title}: in {where}, {label.file} has {sides(label)} pixels, "
                f"{photo.file} {sides(photo)}; a pair has one size."
            )


def sides(cut: Cut) -> str:
    return "x".join(map(str, cut.whole))
