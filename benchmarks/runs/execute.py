"""Run an experiment, or go on with it, in a folder of its own."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.experiments import Experiment
from benchmarks.records import files, origin, run_files
from benchmarks.runs import (
    checkpoint,
    folders,
    grid,
    program,
    tensorboard,
    weights,
)
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.epochs import Run, count, run_program
from benchmarks.tasks.problem import DataSet, Problem


def prepare(
    experiment: Experiment,
    command: str,
    folder: Path,
    *,
    resume: bool,
    data_dir: Path | None = None,
) -> Run | None:
    """Read the data and find where to begin; None if the run to resume is finished.

    Until the `Run` ran, no other process runs anything in its folder.

    Args:
      experiment: what to run.
      command: how it was called, for the meta data.
      folder: of the results.
      resume: go on with the run in `folder`.
      data_dir: where the data set is; None is its usual place.

    Raises:
      OSError, ValueError: of the folder, of the data set, or of the run to resume.
    """
    lock = folders.Lock(folder)
    try:
        prepared = begin(experiment, command, lock, resume, data_dir)
    except BaseException:
        lock.release()
        raise
    if prepared is None:
        lock.release()
    return prepared


def begin(
    experiment: Experiment,
    command: str,
    lock: folders.Lock,
    resume: bool,
    data_dir: Path | None,
) -> Run | None:
    """The same, in a folder that is locked."""
    folder, problem = lock.folder, experiment.problem
    if not resume:
        folders.claim(folder, OWN, further(experiment))
        checkpoint.refuse_unfinished(folder)
    environment = origin.environment()  # the commit, before files of it are rewritten
    data_set = problem.load(data_dir)
    configuration = describe(experiment, data_set)
    if not resume:
        checkpoint.start(folder, configuration)
    position = checkpoint.position(folder, configuration)
    folders.clear(folder, *map(re.escape, (*OWN, *further(experiment))))
    folders.clear(folder / checkpoint.FOLDER, checkpoint.NAME, checkpoint.RUN)
    if position is None:
        checkpoint.finish(folder)
        return None
    finished = grid.programs(experiment)[: position.program]
    with files.telling(f"Delete {folder / checkpoint.FOLDER} to start anew."):
        for path in weights.manifests(folder, experiment, finished):
            files.check(path.parent)
    judging = judged(problem, problem.references(data_set))
    meta = {"command": command, **configuration, **judging, **environment}
    return Run(experiment, data_set, folder, position, meta, lock)


OWN = {
    **folders.OWN,
    checkpoint.FOLDER: checkpoint.is_own,
    # Beside its files, a run only adds to these, or has its own folders in them.
    tensorboard.FOLDER: Path.is_dir,
    weights.FOLDER: Path.is_dir,
}
"""How what a run overwrites or removes is recognised."""


def further(experiment: Experiment) -> list[str]:
    """The other names that a run and its report write."""
    figures = (experiment.problem.score.name, "strengths", "curves")
    drawn = [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
    return ["table.md", *drawn, weights.FOLDER]


def run(run: Run, deadline: Deadline | None = None) -> bool:
    """Train, and write metrics.csv as it goes and meta.json at the end.

    A checkpoint is written every `save_every` seconds, after a part of an epoch.

    Returns:
      Whether the run is finished. If not, it goes on from where the deadline stopped it
      when it is resumed.

    Raises:
      OSError: a file could not be written; what was saved before is whole.
    """
    try:
        return train_all(run, deadline or Deadline())
    finally:
        run.lock.release()


def train_all(run: Run, deadline: Deadline) -> bool:
    """The same, in a folder that is locked."""
    experiment, folder, position = run.experiment, run.folder, run.position
    print(announce(experiment, run.data_set, folder), flush=True)
    programs = grid.programs(experiment)
    score = program.make_score(experiment, run.data_set)
    with tqdm(unit="lane-step", unit_scale=True, total=0) as bar:
        lane_steps = [count(experiment, run.data_set, each) for each in programs]
        bar.total = sum(lane_steps)
        bar.update(sum(lane_steps[: position.program]))
        for number, each in enumerate(programs):
            if number < position.program:
                continue
            start = position if number == position.program else Position(number, 0)
            bar.set_description(f"{each.condition}, {each.optimizers[0]}")
            if not run_program(run, each, start, score, bar, deadline):
                return False
    meta = run.meta | {
        "lanes": experiment.lanes,
        "seconds": checkpoint.seconds(folder),
    }
    rows = checkpoint.state(folder).rows
    kept = weights.manifests(folder, experiment, programs)
    run_files.write_run(folder, rows, meta, *kept)
    checkpoint.finish(folder)
    return True


def stopped(run: Run) -> str:
    """Where an unfinished run stands, in a sentence."""
    reached, programs = (
        checkpoint.reached(run.folder),
        grid.programs(run.experiment),
    )
    of_all = f", program {reached.program + 1} of {len(programs)}"
    return (
        f"Stopped after epoch {reached.epoch} of {run.experiment.epochs}"
        + (f" and {reached.step} steps" if reached.step else "")
        + (of_all if len(programs) > 1 else "")
        + "."
    )


def describe(experiment: Experiment, data_set: DataSet) -> dict[str, Any]:
    """What a run is: with the same code, the same description, the same numbers."""
    numbers = asdict(experiment)
    for text in ("question", "cost", "gpu_cost"):
        del numbers[text]
    numbers |= numbers.pop("problem")
    return {
        "experiment": numbers,
        "noises": [str(noise) for noise in experiment.noises],
        "trials": {
            name: grid.trials(experiment, name) for name in experiment.optimizers
        },
        "baselines": grid.baselines(experiment),
        "data_source": data_set.source,
        "versions": origin.versions(),
    }


def announce(experiment: Experiment, data_set: DataSet, folder: Path) -> str:
    """What is about to be run, in a few lines."""
    examples = experiment.problem.examples(data_set)
    items = experiment.problem.wording().items
    programs = len(grid.programs(experiment))
    batches = ", ".join(map(str, experiment.batch_sizes))
    strengths = len(experiment.strengths)
    factors = [
        f"{len(experiment.optimizers)} optimizers",
        f"{len(experiment.learning_rates)} trials",
        *([f"{strengths} strengths"] if strengths else []),
        f"{experiment.seeds} seeds",
        f"{len(experiment.batch_sizes)} batch sizes ({batches})",
        *([f"{len(experiment.noises)} noises"] if len(experiment.noises) > 1 else []),
    ]
    return (
        f"{experiment.name}: {' x '.join(factors)} = {experiment.lanes} lanes\n"
        f"{experiment.epochs} epochs of {examples} {items} each, as {programs} "
        f"compiled program{'s' if programs > 1 else ''}\n"
        f"{tensorboard.announce(folder)}"
    )


def judged(problem: Problem, references: dict[str, Any]) -> dict[str, Any]:
    """What meta.json says of the task, for the reports."""
    return {
        "score": problem.score._asdict(),
        "wording": problem.wording()._asdict(),
        "references": references,
    }
