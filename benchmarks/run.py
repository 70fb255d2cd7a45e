"""Run an experiment: train, evaluate, write the results as they come."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pandas as pd
from tqdm import tqdm

from benchmarks import (
    assemble,
    board,
    checkpoint,
    program,
    results,
    scores,
    train,
    weights,
)
from benchmarks.assemble import Program
from benchmarks.checkpoint import Position
from benchmarks.experiments import Experiment
from benchmarks.tasks import DataSet, Sampler


class Run(NamedTuple):
    """What is to be run.

    Attributes:
      experiment: what.
      data_set: its data, checked.
      folder: of the results.
      position: where to begin.
      meta: what meta.json holds besides the time taken.
    """

    experiment: Experiment
    data_set: DataSet
    folder: Path
    position: Position
    meta: dict[str, Any]


def prepare(
    experiment: Experiment,
    command: str,
    folder: Path,
    *,
    resume: bool,
    data_dir: Path | None = None,
) -> Run | None:
    """Read the data and find where to begin; None if the run to resume is finished.

    Args:
      experiment: what to run.
      command: how it was called, for the meta data.
      folder: of the results.
      resume: go on with the run in `folder`.
      data_dir: where the data set is; None is its usual place.

    Raises:
      FileNotFoundError, ValueError: of the data set, or of the run to resume.
    """
    environment = results.environment()  # the commit, before files of it are rewritten
    problem = experiment.problem
    data_set = problem.load(data_dir)
    configuration = describe(experiment, data_set)
    if not resume:
        checkpoint.start(folder, configuration)
    position = checkpoint.position(folder, configuration)
    if position is None:
        return None
    judged = results.judged(problem, problem.references(data_set))
    meta = {"command": command, **configuration, **judged, **environment}
    return Run(experiment, data_set, folder, position, meta)


def run(run: Run) -> None:
    """Train, and write metrics.csv as it goes and meta.json at the end.

    A checkpoint is written every `save_every` seconds, at the end of an epoch.
    """
    experiment, folder, position = run.experiment, run.folder, run.position
    print(announce(experiment, run.data_set, folder), flush=True)
    programs = assemble.programs(experiment)
    score = program.make_score(experiment, run.data_set)
    with tqdm(unit="lane-step", unit_scale=True, total=0) as bar:
        lane_steps = [count(experiment, run.data_set, each) for each in programs]
        bar.total = sum(lane_steps)
        bar.update(sum(lane_steps[: position.program]))
        for number, each in enumerate(programs):
            if number < position.program:
                continue
            epoch = position.epoch if number == position.program else 0
            bar.set_description(f"{each.condition}, {each.optimizers[0]}")
            run_program(run, each, Position(number, epoch), score, bar)
    meta = run.meta | {
        "lanes": experiment.lanes,
        "seconds": checkpoint.seconds(folder),
    }
    results.write_run(folder, checkpoint.rows(folder), meta)
    checkpoint.finish(folder)


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
            name: assemble.trials(experiment, name) for name in experiment.optimizers
        },
        "baselines": assemble.baselines(experiment),
        "data_source": data_set.source,
        "versions": results.versions(),
    }


def announce(experiment: Experiment, data_set: DataSet, folder: Path) -> str:
    """What is about to be run, in a few lines."""
    examples = experiment.problem.examples(data_set)
    items = experiment.problem.wording().items
    programs = len(assemble.programs(experiment))
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
        f"To watch: tensorboard --logdir {folder / board.FOLDER}"
    )


def count(experiment: Experiment, data_set: DataSet, program: Program) -> int:
    """Steps of all the lanes of a program."""
    trials = sum(len(assemble.labels(experiment, name)) for name in program.optimizers)
    examples = experiment.problem.examples(data_set)
    steps = assemble.total_steps(experiment, examples, program.batch_size)
    return trials * experiment.seeds * steps


def run_program(
    run: Run, which: Program, position: Position, score: train.Evaluate, bar: Any
) -> None:
    """Train from `position` to the end of the program, evaluate and keep its rows."""
    experiment, folder, problem = run.experiment, run.folder, run.experiment.problem
    rows, before = checkpoint.load_part(folder, position)
    built = program.build(experiment, run.data_set, which, folder, position, score)
    lanes, began = built.lanes, time.perf_counter()
    done = count(experiment, run.data_set, which) // experiment.epochs
    bar.update(position.epoch * done)
    labels = [x for name in which.optimizers for x in assemble.labels(experiment, name)]

    def keep() -> None:
        seconds = {
            "compile": before["compile"] + built.seconds,
            "run": before["run"] + time.perf_counter() - began,
        }
        finished = epoch == experiment.epochs
        part = pd.concat(rows or [now[:0]])
        checkpoint.save_part(folder, position.program, part, seconds, finished=finished)
        results.write_metrics(folder, checkpoint.rows(folder))

    saved = time.perf_counter()
    unique = list(dict.fromkeys(labels))
    with board.writers(folder, which.condition, unique, position.epoch) as writers:
        for epoch in range(position.epoch + 1, experiment.epochs + 1):
            lanes = jax.block_until_ready(built.advance(lanes, epoch - 1))
            bar.update(done)
            now = scores.training(experiment, which, lanes, epoch)
            if is_evaluated(experiment, epoch):
                now = scores.evaluation(
                    experiment, which, now, built.evaluate, lanes, run.data_set
                )
                rows.append(now)
                if epoch == experiment.epochs and isinstance(problem, Sampler):
                    weights.keep(folder, experiment, which, built, lanes, now)
                keep()
            board.log(writers, now)
            due = time.perf_counter() - saved > experiment.save_every
            if due and epoch < experiment.epochs:
                keep()
                checkpoint.save(folder, Position(position.program, epoch), lanes)
                saved = time.perf_counter()


def is_evaluated(experiment: Experiment, epoch: int) -> bool:
    every = experiment.evaluate_every or experiment.epochs
    return epoch == experiment.epochs or epoch % every == 0
