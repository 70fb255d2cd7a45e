"""The weights of a run, kept for tasks that make something of them.

A folder `weights/CONDITION/NAME` holds what the chosen trial of an optimizer reached
with seed 0: parameters by player, as they are evaluated, and statistics.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
import pandas as pd

from benchmarks import analysis, assemble, scores, train
from benchmarks.assemble import Program
from benchmarks.experiments import Experiment
from benchmarks.program import Built

FOLDER = "weights"


def keep(
    folder: Path,
    experiment: Experiment,
    program: Program,
    built: Built,
    lanes: Mapping[str, train.Lane],
    rows: pd.DataFrame,
) -> None:
    """Write them, chosen by the rows of the last evaluation."""
    where = (folder / FOLDER / program.condition).absolute()
    for name, lane in lanes.items():
        for label in dict.fromkeys(assemble.labels(experiment, name)):
            runs = rows[rows.optimizer == label]
            trial = analysis.best_trial(runs, experiment.problem.score)
            reached = built.weights(name, scores.of_trial(lane, trial))
            with ocp.StandardCheckpointer() as checkpointer:
                first = jax.tree.map(lambda x: x[0, 0], reached)
                checkpointer.save(where / label, first, force=True)


def load(folder: Path, like: Any) -> dict[str, Any]:
    """By "CONDITION, NAME"; `like` gives structure, shapes and dtypes.

    Raises:
      FileNotFoundError: there are none.
    """
    found = sorted((folder / FOLDER).glob("*/*/_METADATA"))
    if not found:
        raise FileNotFoundError(f"No weights in {folder / FOLDER}.")
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with ocp.StandardCheckpointer() as checkpointer:
        return {
            f"{path.parent.parent.name}, {path.parent.name}": checkpointer.restore(
                path.parent.absolute(), target
            )
            for path in found
        }
