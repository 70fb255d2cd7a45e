"""Rows of measurements in a CSV file, each written as soon as it is made."""

import csv
import io
from pathlib import Path

from benchmarks.records import files

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """The rows so far; none without a file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: Row) -> None:
    """Write the file anew with one row more."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read(path), row])
    files.write_text(path, text.getvalue())
