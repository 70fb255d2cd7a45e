"""Run a program of an experiment: train, evaluate, write the results as they come."""

import itertools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pandas as pd

from benchmarks.experiments import Experiment
from benchmarks.records import run_files
from benchmarks.runs import (
    checkpoint,
    folders,
    grid,
    metric_rows,
    program,
    tensorboard,
    weights,
)
from benchmarks.runs.checkpoint import Position, State
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.grid import Program
from benchmarks.runs.program import Built
from benchmarks.tasks.problem import DataSet, Sampler
from benchmarks.training import loop

WRITTEN_A_SECOND = 200e6  # bytes of a checkpoint, before one was timed


class Run(NamedTuple):
    """What is to be run.

    Attributes:
      experiment: what.
      data_set: its data, checked.
      folder: of the results.
      position: where to begin.
      meta: what meta.json holds besides the time taken.
      lock: of the folder, until the run ends or stops.
    """

    experiment: Experiment
    data_set: DataSet
    folder: Path
    position: Position
    meta: dict[str, Any]
    lock: folders.Lock


def count(experiment: Experiment, data_set: DataSet, program: Program) -> int:
    """Steps of all the lanes of a program."""
    trials = sum(len(grid.labels(experiment, name)) for name in program.optimizers)
    examples = experiment.problem.examples(data_set)
    steps = grid.total_steps(experiment, examples, program.batch_size)
    return trials * experiment.seeds * steps


class Progress:
    """The rows of all programs so far, and the seconds that they took."""

    def __init__(self, run: Run, start: Position, compiled: float, deadline: Deadline):
        self.run, self.number, self.deadline = run, start.program, deadline
        self.compiled = compiled
        none = pd.DataFrame(columns=metric_rows.columns(run.experiment))
        _, self.rows, self.before = checkpoint.state(run.folder)
        self.rows = self.rows or to_csv(none, header=True)
        self.began = self.saved = time.perf_counter()

    def add(self, rows: pd.DataFrame) -> None:
        """Take up rows, and write metrics.csv."""
        self.rows += to_csv(rows, header=False)
        run_files.write_metrics(self.run.folder, self.rows)

    def save(self, after: Position, lanes: dict[str, loop.Lane] | None) -> None:
        """Write a checkpoint, with the lanes unless a program has ended."""
        seconds = {
            "compile": self.before["compile"] + self.compiled,
            "run": self.before["run"] + time.perf_counter() - self.began,
        }
        with self.deadline.timing("save"):
            run_files.write_metrics(self.run.folder, self.rows)
            checkpoint.save(self.run.folder, State(after, self.rows, seconds), lanes)
        self.saved = time.perf_counter()

    @property
    def is_due(self) -> bool:
        return time.perf_counter() - self.saved > self.run.experiment.save_every


def to_csv(rows: pd.DataFrame, *, header: bool) -> str:
    text: str = rows.to_csv(index=False, header=header, lineterminator="\n")
    return text


def run_program(
    run: Run,
    which: Program,
    start: Position,
    score: loop.Evaluate,
    bar: Any,
    deadline: Deadline,
) -> bool:
    """Train from a position to the end of the program, evaluate and keep its rows.

    Returns whether the deadline allowed that; if not, a checkpoint says where it is.
    """
    experiment, folder = run.experiment, run.folder
    if not deadline.allows("compile", "part", "save"):
        return False
    with deadline.timing("compile"):
        built = program.build(experiment, run.data_set, which, folder, start, score)
    lanes, progress = built.start(), Progress(run, start, built.seconds, deadline)
    size = sum(x.nbytes for x in jax.tree.leaves(lanes))
    deadline.last.setdefault("save", size / WRITTEN_A_SECOND)
    parts = grid.parts(
        experiment, experiment.problem.examples(run.data_set), which.batch_size
    )
    done = count(experiment, run.data_set, which) // (experiment.epochs * len(parts))
    bar.update(done * (start.epoch * len(parts) + start.step // parts.step))
    labels = [x for name in which.optimizers for x in grid.labels(experiment, name)]
    unique = list(dict.fromkeys(labels))
    with tensorboard.writers(folder, which.condition, unique, start.epoch) as writers:
        for now, after in itertools.pairwise(positions(experiment, parts, start)):
            ends = after.epoch > now.epoch
            evaluated = ends and is_evaluated(experiment, after.epoch)
            if not deadline.allows("part", *["evaluation"] * evaluated, "save"):
                progress.save(now, lanes)
                return False
            with deadline.timing("part"):
                lanes = built.advance(lanes, now.epoch, now.step)
                jax.block_until_ready(lanes)
            bar.update(done)
            if ends:
                tensorboard.log(
                    writers, end_epoch(progress, which, built, lanes, after)
                )
            if progress.is_due and after.epoch < experiment.epochs:
                progress.save(after, lanes)
    progress.save(Position(start.program + 1, 0), lanes=None)
    return True


def positions(experiment: Experiment, parts: range, start: Position) -> list[Position]:
    """What is left of a program, part by part, and its end."""
    program = start.program
    of_all = itertools.product(range(experiment.epochs), parts)
    left = [Position(program, *x) for x in of_all if Position(program, *x) >= start]
    return [*left, Position(program, experiment.epochs)]


def end_epoch(
    progress: Progress,
    which: Program,
    built: Built,
    lanes: dict[str, loop.Lane],
    after: Position,
) -> pd.DataFrame:
    """The rows of the epoch, with scores and kept if it is one that is evaluated."""
    run, experiment = progress.run, progress.run.experiment
    now = metric_rows.training(experiment, which, lanes, after.epoch)
    if not is_evaluated(experiment, after.epoch):
        return now
    with progress.deadline.timing("evaluation"):
        now = metric_rows.evaluation(
            experiment, which, now, built.evaluate, lanes, run.data_set
        )
    if after.epoch == experiment.epochs and isinstance(experiment.problem, Sampler):
        weights.keep(run.folder, experiment, which, built, lanes, now)
    progress.add(now)
    return now


def is_evaluated(experiment: Experiment, epoch: int) -> bool:
    every = experiment.evaluate_every or experiment.epochs
    return epoch == experiment.epochs or epoch % every == 0
