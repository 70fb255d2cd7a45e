"""The raw rows of an example: a line of csv for each method, setting, seed and split.

The columns are the title of the table that a score belongs to, the method, the numbers
of its trial (empty where it has no such number), seed, split and score.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Record = dict[str, object]
as_written = np.vectorize(lambda x: float(f"{x:.7g}"), otypes=[float])
"""Scores to the digits that the csv holds: what is computed from them is the same."""


def of_trials(
    table: str,
    split: str,
    method: str,
    trials: dict[str, np.ndarray],
    scores: np.ndarray,
    first: int = 0,
) -> Iterator[Record]:
    """Yield a row for each trial and seed.

    Args:
      table: the title that the scores stand under.
      split: validation or test.
      method: its name.
      trials: numbers of shape (trials,).
      scores: shape (trials, seeds).
      first: of the seeds, which count up.
    """
    for i, of_seeds in enumerate(scores):
        numbers = {name: f"{float(x[i]):.6g}" for name, x in trials.items()}
        for seed, score in enumerate(of_seeds, first):
            label = {"table": table, "method": method, **numbers}
            yield {**label, "seed": seed, "split": split, "score": f"{score:.7g}"}


def write(path: Path, rows: list[Record]) -> None:
    """One csv; the numbers of all methods between the method and the seed."""
    last = ("seed", "split", "score")
    names = dict.fromkeys(name for row in rows for name in row if name not in last)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*names, *last), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
