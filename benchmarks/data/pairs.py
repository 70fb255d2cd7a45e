"""Label maps and photos: SPLIT/label/NAME.png, SPLIT/photo/NAME.jpg, or a tar of it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import data
from benchmarks.data import cache, image_files
from benchmarks.data.spec import require

PARTS = ("train", "val", "test")
SUFFIXES = {"label": (".png",), "photo": (*image_files.FORMATS,)}
RESAMPLE = {  # a bilinear resize is antialiased where it shrinks
    "label": Image.Resampling.NEAREST,
    "photo": Image.Resampling.BILINEAR,
}
ONE_CHANNEL = ("L", "P")  # grey, or indices with a palette
NAMED = 3  # files in an error
MOST = 50_000_000  # pixels of an image


class PairSpec(NamedTuple):
    """What a data set of pairs holds.

    Attributes:
      title: its name in reports and errors.
      classes: number of classes; labels are 0 to classes - 1.
      void: the class of pixels that are not labelled, which no score counts.
      get: a sentence that says how to get the data set.
    """

    title: str
    classes: int
    void: int
    get: str


def how_to_get(what: str, void: int) -> str:
    return (
        f"Get {what}; write train/, val/ and test/, each with label/NAME.png (one "
        f"channel of classes, {void} for what is not labelled) and photo/NAME.jpg, and "
        "name the folder, or a tar archive of it: --data-dir DIR."
    )


class Pairs(NamedTuple):
    """Label maps and their photos.

    Attributes:
      labels: uint8, shape (n, size, size).
      photos: uint8, shape (n, size, size, 3).
    """

    labels: jax.Array
    photos: jax.Array


class PairSet(NamedTuple):
    """Three disjoint splits of pairs.

    Attributes:
      train: what the parameters are fitted to.
      validation: what the learning rate is chosen on.
      test: for the final scores, used once.
      classes: number of classes; labels are 0 to classes - 1.
      void: the class of pixels that are not labelled.
      source: a description of what was read, for reports; it names a lossy copy so.
    """

    train: Pairs
    validation: Pairs
    test: Pairs
    classes: int
    void: int
    source: str


def spec_of(name: str) -> PairSpec:
    """Return what a data set of pairs holds; raise ValueError if there is none."""
    spec: PairSpec = data.find(name, PairSpec).SPEC
    return spec


def load(
    name: str,
    data_dir: Path | None,
    *,
    size: int,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> PairSet:
    """Read and check a data set of pairs; the arrays are put on the default device.

    Of each pair the middle square is taken and resized: the photo with antialiasing,
    the label map to the nearest pixel.

    Args:
      name: 'camvid' or 'cityscapes'.
      data_dir: the folder that holds train/, val/ and test/, or a tar archive of it,
        whose resized arrays are cached.
      size: pixels a side.
      train: number of pairs to keep, at even distances in the order of their names;
        None keeps all.
      validation: the same number for val/.
      test: the same number for test/.

    Raises:
      FileNotFoundError: a file or its partner is missing.
      ValueError: a file holds something else, or a number of pairs is impossible.
    """
    spec = spec_of(name)
    arrays = read_arrays(spec, require(spec, data_dir), size)
    return PairSet(
        spread(arrays, "train", train),
        spread(arrays, "val", validation),
        spread(arrays, "test", test),
        spec.classes,
        spec.void,
        f"{spec.title} ({arrays['copy']})",
    )


def spread(arrays: cache.Arrays, part: str, number: int | None) -> Pairs:
    """Return `number` pairs of a part at even distances; None returns all."""
    labels, photos = arrays[f"{part}_labels"], arrays[f"{part}_photos"]
    n = len(labels)
    number = n if number is None else number
    if not 1 <= number <= n:
        raise ValueError(f"{part}={number} of {n} pairs; write a number from 1 to {n}.")
    index = np.arange(number) * n // number
    return Pairs(jnp.asarray(labels[index]), jnp.asarray(photos[index]))


def read_arrays(spec: PairSpec, path: Path, size: int) -> cache.Arrays:
    """Return labels and photos of every part, and `copy`: what the files are."""
    if path.is_dir():
        return decode(spec, image_files.in_folder(path, PARTS), path, size)
    if image_files.is_tar(spec.title, path):
        files = image_files.in_tar(spec.title, path, PARTS)
        return cache.cached(
            path, lambda: decode(spec, files, path, size), f"-{spec.title}-{size}"
        )
    raise FileNotFoundError(f"{spec.title}: no folder or tar at {path}. {spec.get}")


class Square(NamedTuple):
    """The middle square of an image, resized.

    Attributes:
      pixels: of the square.
      file: name of the image's file, for errors.
      width, height: of the whole image.
    """

    pixels: np.ndarray
    file: PurePosixPath
    width: int
    height: int


Squares = dict[tuple[str, str], Square]
"""By part and name."""


def decode(
    spec: PairSpec,
    files: Iterator[tuple[PurePosixPath, bytes]],
    where: Path,
    size: int,
) -> cache.Arrays:
    """Return the arrays of all parts in the order of their names."""
    found: dict[str, Squares] = {kind: {} for kind in SUFFIXES}
    for file, content in files:
        part, kind, _ = file.parts
        if file.suffix.lower() not in SUFFIXES.get(kind, ()):
            continue
        key = part, file.stem
        if key in found[kind]:
            raise ValueError(
                f"{spec.title}: {where} holds {found[kind][key].file} and {file}, two "
                "files of one name; remove one."
            )
        image = image_files.open_image(spec.title, content, f"{where}: {file}", MOST)
        if kind == "label":
            check_classes(spec, image, f"{where}: {file}")
        else:
            image = image.convert("RGB")
        pixels = middle_square(image, size, RESAMPLE[kind])
        found[kind][key] = Square(pixels, file, *image.size)
    check_pairs(spec, found["label"], found["photo"], where)
    return stack(found)


def middle_square(
    image: Image.Image, size: int, resample: Image.Resampling
) -> np.ndarray:
    """Return the largest square in the middle of an image, resized."""
    width, height = image.size
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    square = image.crop((left, upper, left + side, upper + side))
    return np.asarray(square.resize((size, size), resample))


def stack(found: dict[str, Squares]) -> cache.Arrays:
    """Return an array for each part and kind, and `copy`: what the files are."""
    keys = sorted(found["photo"])
    first = found["photo"][keys[0]]
    format_ = image_files.FORMATS[first.file.suffix.lower()]
    arrays = {"copy": np.asarray(f"{format_} copy, {first.width}x{first.height}")}
    for part in PARTS:
        for kind, squares in found.items():
            pixels = [squares[key].pixels for key in keys if key[0] == part]
            arrays[f"{part}_{kind}s"] = np.stack(pixels)
    return arrays


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


def check_pairs(spec: PairSpec, labels: Squares, photos: Squares, where: Path) -> None:
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
        if label[2:] != photo[2:]:
            raise ValueError(
                f"{spec.title}: in {where}, {label.file} has {sides(label)} pixels, "
                f"{photo.file} {sides(photo)}; a pair has one size."
            )


def sides(square: Square) -> str:
    return f"{square.width}x{square.height}"
