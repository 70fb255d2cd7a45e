"""Measurements in a CSV file, each written as soon as it is made."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import timing
from benchmarks.records import files
from benchmarks.report import markdown
from benchmarks.runs.deadline import Deadline

Row = dict[str, str]
Measure = Callable[[], Row]


class Cell(NamedTuple):
    """A row that is to be measured.

    Attributes:
      key: the columns that say what is measured.
      prepared: does what may be done beside other cells, such as compiling, and returns
        the function that measures: the columns that follow.
    """

    key: Row
    prepared: Callable[[], Measure]


def read(path: Path) -> list[Row]:
    """Return the rows so far; none without a file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: Row) -> None:
    """Write the file anew with one more row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read(path), row])
    files.write_text(path, text.getvalue())


Column = tuple[str, str | Callable[[Row], str]]
"""The title of a column, and a name in a row or what makes a cell of a row."""


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Return the rows as a Markdown table."""
    titles = tuple(title for title, _ in columns)
    lines = [
        tuple(row[cell] if isinstance(cell, str) else cell(row) for _, cell in columns)
        for row in rows
    ]
    return "\n".join(markdown.align([titles, *lines]))


def with_range(name: str) -> Callable[[Row], str]:
    """Return a function that writes a row's median as "median (least to most)"."""

    def cell(row: Row) -> str:
        if not row[name][:1].isdigit():  # what was not measured, or failed
            return row[name]
        return f"{row[name]} ({row[f'{name}_low']} to {row[f'{name}_high']})"

    return cell


def is_measured(key: Row, rows: Sequence[Row]) -> bool:
    """Return whether one of the rows holds the values of the key."""
    return any(key.items() <= row.items() for row in rows)


def complete(
    path: Path,
    cells: Sequence[Cell],
    deadline: Deadline,
    *,
    compile_guess: float = 0.0,
    guess: float = 0.0,
    is_decided: Callable[[Row, Sequence[Row]], bool] = is_measured,
) -> bool:
    """Measure the cells that have no row yet, all of them prepared side by side first.

    Args:
      path: of the file.
      cells: the rows that are wanted.
      deadline: is asked before all are prepared, and before each is measured.
      compile_guess: seconds to prepare one beside the others.
      guess: seconds to measure one, before one was measured.
      is_decided: (key, rows so far) -> whether a row is there or not needed.

    Returns:
      Whether the deadline allowed all.
    """
    left = [cell for cell in cells if not is_decided(cell.key, read(path))]
    if not left:
        return True
    deadline.last.setdefault("compile", compile_guess * len(left))
    deadline.last.setdefault("measurement", guess)
    if not deadline.allows("compile", "measurement"):
        return False
    with deadline.timing("compile"):
        prepared = timing.in_threads([cell.prepared for cell in left])
    for cell, measure in zip(left, prepared, strict=True):
        if is_decided(cell.key, read(path)):
            continue
        if not deadline.allows("measurement"):
            return False
        print(f"{path.stem}:", ", ".join(cell.key.values()), flush=True)
        with deadline.timing("measurement"):
            found = measure.result()()
        add(path, cell.key | found)
    return True
