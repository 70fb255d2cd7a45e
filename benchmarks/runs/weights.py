"""The weights of a run, kept for tasks that make something of them.

A folder `weights/CONDITION/NAME` holds what the chosen trial of an optimizer reached
with seed 0: parameters by player, as they are evaluated, and statistics; and a manifest
of its files.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from benchmarks.experiments import Experiment
from benchmarks.records import files
from benchmarks.records.files import MANIFEST, DamagedError
from benchmarks.report import statistics
from benchmarks.runs import arrays, folders, grid, metric_rows
from benchmarks.runs.grid import Program
from benchmarks.runs.program import Built
from benchmarks.tasks.problem import Sampler
from benchmarks.training import loop

FOLDER = "weights"


def keep(
    folder: Path,
    experiment: Experiment,
    program: Program,
    built: Built,
    lanes: Mapping[str, loop.Lane],
    rows: pd.DataFrame,
) -> None:
    """Write them, chosen by the rows of the last evaluation."""
    where = folder / FOLDER / program.condition
    for name, lane in lanes.items():
        for label in dict.fromkeys(grid.labels(experiment, name)):
            runs = rows[rows.optimizer == label]
            trial = statistics.best_trial(runs, experiment.problem.score)
            reached = built.weights(name, metric_rows.of_trial(lane, trial))
            first = jax.tree.map(lambda x: x[0, 0], reached)
            write(where / label, first)


def write(path: Path, weights: Any) -> None:
    """Write a folder of weights whole, in place of those of an earlier run."""
    folders.clear(path.parent, re.escape(path.name))
    unfinished = files.temporary(path)
    try:
        files.make(path.parent)
        arrays.save(unfinished, weights)
        files.seal(unfinished, files.inside(unfinished), weights=name_of(path))
        folders.remove(path)
        files.replace(unfinished, path)
    except OSError as error:
        raise files.named(error, path) from error
    finally:
        folders.remove(unfinished)


def name_of(path: Path) -> str:
    return f"{path.parent.name}, {path.name}"


def manifests(
    folder: Path, experiment: Experiment, programs: Sequence[Program]
) -> Iterator[Path]:
    """Those of all the weights that programs have, once they are finished."""
    if not isinstance(experiment.problem, Sampler):
        return
    for program in programs:
        for name in program.optimizers:
            for label in dict.fromkeys(grid.labels(experiment, name)):
                yield folder / FOLDER / program.condition / label / MANIFEST


def load(folder: Path, like: Any) -> dict[str, Any]:
    """By "CONDITION, NAME"; `like` gives structure, shapes and dtypes.

    Raises:
      FileNotFoundError: there are none.
      DamagedError: a file is not what was written.
    """
    if not (found := kept(folder)):
        raise FileNotFoundError(
            f"No weights in {folder / FOLDER}, or none with a manifest."
        )
    return {name_of(path): read(path, like) for path in found}


def kept(folder: Path) -> list[Path]:
    """The folders of weights; of a finished run, those that it wrote."""
    if (folder / MANIFEST).exists():
        files.check(folder)
        names = files.read_manifest(folder)["files"]
        paths = (folder / name for name in names)
        return [path.parent for path in paths if path.name == MANIFEST]
    sealed = (folder / FOLDER).glob(f"[!.]*/[!.]*/{MANIFEST}")
    return sorted(path.parent for path in sealed)


def read(path: Path, like: Any) -> Any:
    """The weights in a folder, checked."""
    about = files.check(path)
    if about != {"weights": name_of(path)}:
        raise DamagedError(f"{path} holds the weights of {about.get('weights')}.")
    return arrays.load(path, like)
