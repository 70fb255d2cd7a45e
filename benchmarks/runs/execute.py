"""Run an experiment, or go on with it, in a folder of its own."""

import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from benchmarks.experiments import Experiment
from benchmarks.records import files, origin, run_files
from benchmarks.runs import checkpoint, folders, grid, signals, tensorboard, weights
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.epochs import Run, lane_steps, needed, run_program
from benchmarks.runs.trainer import Trainer
from benchmarks.tasks.problem import DataSet, Problem

OWN = {
    **folders.OWN,
    checkpoint.FOLDER: checkpoint.is_own,
    # Beside its files, a run only adds to these, or has its own folders in them.
    tensorboard.FOLDER: Path.is_dir,
    weights.FOLDER: Path.is_dir,
}
"""By name, how to recognise what a run overwrites or removes."""

ADDED = ("values", "cosine", "at_once", "large", "idle_epochs", "kind", "dtype")
"""Fields that experiments and tasks got later, each with a default."""


def prepare(
    experiment: Experiment,
    command: str,
    folder: Path,
    *,
    resume: bool,
    data_dir: Path | None = None,
) -> Run:
    """Read the data of an experiment and find where to begin.

    The run's folder is locked until `execute` has trained it: no other process can run
    anything there.

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
        return prepare_locked(experiment, command, lock, resume, data_dir)
    except BaseException:
        lock.release()
        raise


def prepare_locked(
    experiment: Experiment,
    command: str,
    lock: folders.Lock,
    resume: bool,
    data_dir: Path | None,
) -> Run:
    """Prepare a run in a folder that is locked already."""
    folder, problem = lock.folder, experiment.problem
    if not resume:
        folders.claim(folder, OWN, report_names(experiment))
        checkpoint.refuse_unfinished(folder)
    environment = origin.environment()  # the commit, before files of it are rewritten
    data_set = problem.load(data_dir)
    configuration = describe(experiment, data_set)
    if not resume:
        checkpoint.start(folder, configuration)
    position = checkpoint.position(folder, configuration)
    remove_leftovers(folder, experiment)
    if position is None:
        checkpoint.finish(folder)
        return Run(experiment, data_set, folder, None, {}, lock)
    check_weights(folder, experiment, position)
    words = words_of(problem, problem.references(data_set))
    meta = {"command": command, **configuration, **words, **environment}
    return Run(experiment, data_set, folder, position, meta, lock)


def report_names(experiment: Experiment) -> list[str]:
    """Name what a run and its report write besides `OWN`."""
    score = experiment.problem.score.name
    figures = (score, f"{score}-ends", "strengths", "curves", "front")
    drawn = [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
    return ["table.md", *drawn, weights.FOLDER]


def remove_leftovers(folder: Path, experiment: Experiment) -> None:
    """Remove what killed processes have left half written in a run's folder."""
    folders.clear(folder, *map(re.escape, (*OWN, *report_names(experiment))))
    folders.clear(folder / checkpoint.FOLDER, checkpoint.NAME, checkpoint.RUN)


def check_weights(folder: Path, experiment: Experiment, position: Position) -> None:
    """Raise DamagedError unless the weights of the finished programs are whole."""
    finished = grid.programs(experiment)[: position.program]
    with files.telling(f"Delete {folder / checkpoint.FOLDER} to start anew."):
        for path in weights.manifests(folder, experiment, finished):
            files.check(path.parent)


def execute(
    run: Run,
    deadline: Deadline | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> bool:
    """Train a run; write metrics.csv as it goes on, and meta.json at the end.

    A checkpoint is written every `save_every` seconds, after a part of an epoch, and
    after each program.

    Args:
      run: as `prepare` returns it.
      deadline: by which to stop; None runs to the end.
      devices: that may be used; None takes all.

    Returns:
      Whether the run is finished. If not, it goes on from where the deadline stopped it
      when it is resumed.

    Raises:
      OSError: a file could not be written; what was saved before is whole.
    """
    try:
        if run.position is None:
            return True
        trainer = Trainer(run.experiment, run.data_set, devices or jax.devices())
        return execute_locked(run, run.position, deadline or Deadline(), trainer)
    finally:
        run.lock.release()


def follow(experiment: Experiment, data_dir: Path | None) -> None:
    """Train on the devices of this process what the first process runs."""
    data_set = experiment.problem.load(data_dir)
    Trainer(experiment, data_set, jax.devices()).follow()


def execute_locked(
    run: Run, position: Position, deadline: Deadline, trainer: Trainer
) -> bool:
    """Train a run from a position on, in a folder that is locked already."""
    experiment, data_set, folder = run.experiment, run.data_set, run.folder
    print(announce(experiment, data_set, folder), flush=True)
    programs = grid.programs(experiment)
    steps = [lane_steps(experiment, data_set, each) for each in programs]
    with tqdm(unit="run-step", unit_scale=True, total=sum(steps)) as bar:
        bar.update(sum(steps[: position.program]))
        for number, each in enumerate(programs[position.program :], position.program):
            start = max(position, Position(number, 0))
            each = needed(run, each)
            bar.total -= steps[number] - lane_steps(experiment, data_set, each)
            bar.set_description(f"{each.condition}, {each.optimizers[0]}")
            if each.trials and not run_program(
                run, each, start, trainer, bar, deadline
            ):
                return False
    _, rows, _, commits = checkpoint.state(folder)
    earlier = [each for each in commits if each != run.meta["git_commit"]]
    meta = run.meta | {
        **({"earlier_commits": earlier} if earlier else {}),
        "lanes": run_files.runs(rows, experiment.epochs),
        "devices": trainer.whole.mesh.size,
        "seconds": checkpoint.seconds(folder),
    }
    kept = weights.manifests(folder, experiment, programs)
    run_files.write_run(folder, rows, meta, *kept)
    checkpoint.finish(folder)
    return True


def stopped(run: Run) -> str:
    """Say in sentences where a run stopped, at its deadline or after a signal."""
    reached = checkpoint.reached(run.folder)
    programs = len(grid.programs(run.experiment))
    of_all = f", program {reached.program + 1} of {programs}"
    return (
        ("Stopped" if signals.asked() else "Stopped in time")
        + f" after epoch {reached.epoch} of {run.experiment.epochs}"
        + (f" and {reached.step} steps" if reached.step else "")
        + (of_all if programs > 1 else "")
        + "."
        + (" Nothing was saved: give more --minutes." if is_vain(run) else "")
    )


def status(run: Run) -> int:
    """Return the exit status of a command whose run stopped."""
    if number := signals.asked():
        return signals.status(number)
    return 1 if is_vain(run) else 0


def is_vain(run: Run) -> bool:
    """Say whether a deadline left a run where it was when it was prepared."""
    return not signals.asked() and checkpoint.reached(run.folder) == run.position


def describe(experiment: Experiment, data_set: DataSet) -> dict[str, Any]:
    """Describe a run: with the same code, equal descriptions give equal numbers."""
    numbers, tunes = asdict(experiment), experiment.tuning_seeds
    for text in ("question", "cost", "gpu_cost"):
        del numbers[text]
    numbers |= numbers.pop("problem")
    if not experiment.saves_networks:
        numbers["save_every"] = None  # JSON has no infinity
    for field in (*fields(experiment), *fields(experiment.problem)):
        if field.name in ADDED and numbers[field.name] == field.default:
            del numbers[field.name]  # older runs go on without it
    return {
        "experiment": numbers,
        "noises": [str(noise) for noise in experiment.noises],
        "trials": {
            name: grid.numbers(experiment, name) for name in experiment.optimizers
        },
        "baselines": grid.baselines(experiment),
        "data_source": data_set.source,
        "versions": origin.versions(),
        **({"tuned": "by the first seeds, before the others"} if tunes else {}),
    }


def words_of(problem: Problem, references: dict[str, Any]) -> dict[str, Any]:
    """Return what meta.json tells the reports of a task."""
    return {
        "score": problem.score._asdict(),
        "wording": problem.wording()._asdict(),
        "references": references,
    }


def announce(experiment: Experiment, data_set: DataSet, folder: Path) -> str:
    """Say in a few lines what is about to be run."""
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
    most = ""
    if tuning := experiment.tuning_seeds:
        most = f" at most: all but {tuning} seeds make the trials that these choose"
    return (
        f"{experiment.name}: {' x '.join(factors)} = {experiment.runs} runs{most}\n"
        f"{experiment.epochs} epochs of {examples} {items} each, as {programs} "
        f"compiled program{'s' if programs > 1 else ''}\n"
        f"{tensorboard.announce(folder)}"
    )
