"""Label maps and photos as image files, and side by side in a grid."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.data.pairs import Pairs
from benchmarks.records import files

INCHES = 1.3  # of a picture in the grid
CHARACTERS = 22  # of a line above it


def write_pictures(
    folder: Path, pairs: Pairs, classes: int, made: Mapping[str, jax.Array]
) -> list[Path]:
    """Write each picture as COLUMN/NUMBER.png, and grid.png with all of them.

    Args:
      folder: where the files go.
      pairs: n pairs, for the columns "input" and "truth".
      classes: number of classes of the label maps.
      made: photos of further columns by name, in [-1, 1], shape (n, size, size, 3).

    Returns:
      The files that were written.
    """
    columns = {
        "input": colours(np.asarray(pairs.labels), classes),
        "truth": np.asarray(pairs.photos),
    }
    for name, photos in made.items():
        columns[name] = np.round(127.5 * (np.asarray(photos) + 1)).astype(np.uint8)
    written = []
    for name, pixels in columns.items():
        for number, picture in enumerate(pixels):
            path = folder / name / f"{number:02}.png"
            files.write(path, Image.fromarray(picture).save)
            written.append(path)
    path = folder / "grid.png"
    files.write(path, lambda temporary: draw_grid(columns).savefig(temporary, dpi=100))
    return [*written, path]


def colours(labels: np.ndarray, classes: int) -> np.ndarray:
    """Colour each class; the last, which is not labelled, is black."""
    palette = matplotlib.colormaps["tab20"](np.arange(classes))[:, :3]
    palette[-1] = 0
    coloured: np.ndarray = np.round(255 * palette).astype(np.uint8)[labels]
    return coloured


def draw_grid(columns: Mapping[str, np.ndarray]) -> Figure:
    """Draw a row for each pair and a column for each kind of picture."""
    rows = len(next(iter(columns.values())))
    size = (INCHES * len(columns), INCHES * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, len(columns), squeeze=False)
    for axes, (name, pixels) in zip(panels.T, columns.items(), strict=True):
        axes[0].set_title(textwrap.fill(name, CHARACTERS), fontsize=7)
        for each, picture in zip(axes, pixels, strict=True):
            each.imshow(picture, interpolation="nearest")
            each.set_axis_off()
    return figure
