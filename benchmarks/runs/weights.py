"""The weights that a run keeps, for tasks that make something of them.

A folder `weights/CONDITION/NAME` holds the networks that the chosen trial of an
optimizer reached with the first seed: parameters by player, as they are evaluated, and
statistics. A manifest says what its files are.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks.experiments import Experiment
from benchmarks.records import files
from benchmarks.records.files import MANIFEST, DamagedError
from benchmarks.report import statistics
from benchmarks.runs import arrays, folders, grid
from benchmarks.runs.grid import Program
from benchmarks.tasks.problem import Sampler

FOLDER = "weights"


def are_kept(experiment: Experiment) -> bool:
    """Say whether an experiment keeps weights: where something can be made of them."""
    return isinstance(experiment.problem, Sampler) and experiment.saves_networks


def keep(
    folder: Path,
    experiment: Experiment,
    program: Program,
    networks: Callable[[str], Any],
    rows: pd.DataFrame,
) -> None:
    """Write the weights of the trials that the last epoch's rows choose.

    `networks` returns those of an optimizer, stacked on (seed, trial).
    """
    where = folder / FOLDER / program.condition
    for name in program.optimizers:
        reached = networks(name)
        for label in grid.compared(experiment, name):
            runs = rows[rows.optimizer == label]
            trial = statistics.best_trial(runs, experiment.problem.score)
            place = program.trials.index(trial)
            first = jax.tree.map(lambda x, t=place: np.asarray(x[0, t]), reached)
            path = where / label
            folders.clear(path.parent, re.escape(path.name))
            folders.write(path, partial(arrays.save, tree=first), weights=name_of(path))


def name_of(path: Path) -> str:
    """Name the weights in a folder as `load` and their manifest do."""
    return f"{path.parent.name}, {path.name}"


def manifests(
    folder: Path, experiment: Experiment, programs: Sequence[Program]
) -> Iterator[Path]:
    """Yield the manifest of each folder of weights that finished programs wrote."""
    if not are_kept(experiment):
        return
    for program in programs:
        for name in program.optimizers:
            for label in grid.compared(experiment, name):
                yield folder / FOLDER / program.condition / label / MANIFEST


def load(folder: Path, like: Any) -> dict[str, Any]:
    """Read all weights in a run's folder, by "CONDITION, NAME".

    `like` gives their structure, shapes and dtypes.

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
    """Return the folders of weights; in a finished run's folder, only its own."""
    if (folder / MANIFEST).exists():
        files.check(folder)
        names = files.read_manifest(folder)["files"]
        paths = (folder / name for name in names)
        return [path.parent for path in paths if path.name == MANIFEST]
    sealed = (folder / FOLDER).glob(f"[!.]*/[!.]*/{MANIFEST}")
    return sorted(path.parent for path in sealed)


def read(path: Path, like: Any) -> Any:
    """Read the weights in a folder, and check them."""
    about = files.check(path)
    if about != {"weights": name_of(path)}:
        raise DamagedError(f"{path} holds the weights of {about.get('weights')}.")
    return arrays.load(path, like)
