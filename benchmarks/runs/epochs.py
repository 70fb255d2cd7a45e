"""A program of a run: trained part by part, evaluated, saved, written to its files."""

import io
import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.experiments import Experiment
from benchmarks.records import run_files
from benchmarks.report import staged
from benchmarks.runs import (
    checkpoint,
    folders,
    grid,
    metric_rows,
    tensorboard,
    weights,
)
from benchmarks.runs.checkpoint import Position, State
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.grid import Program
from benchmarks.runs.program import Built, nbytes
from benchmarks.runs.trainer import Trainer
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop

WRITTEN_A_SECOND = 200e6  # bytes of a checkpoint, before one was timed


class Run(NamedTuple):
    """An experiment in a folder, prepared to be trained.

    Attributes:
      experiment: what is trained.
      data_set: its data, checked.
      folder: of the results.
      position: where to begin; None if the run is finished.
      meta: what its meta.json will hold besides the time taken.
      lock: of the folder, until the run ends or stops.
    """

    experiment: Experiment
    data_set: DataSet
    folder: Path
    position: Position | None
    meta: dict[str, Any]
    lock: folders.Lock


def lane_steps(experiment: Experiment, data_set: DataSet, program: Program) -> int:
    """Return the steps of a program's lanes, all together."""
    lanes = len(program.optimizers) * len(program.seeds) * len(program.trials)
    examples = experiment.problem.examples(data_set)
    steps = grid.total_steps(experiment, examples, program.batch_size)
    trained = experiment.epochs - experiment.idle_epochs
    return lanes * steps // experiment.epochs * trained


class Progress:
    """What a run has reached in a program: its rows, and the seconds that it took."""

    def __init__(self, run: Run, compiled: float, deadline: Deadline):
        """Go on from the last checkpoint, after so many seconds to compile."""
        self.run, self.compiled, self.deadline = run, compiled, deadline
        none = pd.DataFrame(columns=metric_rows.columns(run.experiment))
        _, self.rows, self.before, commits = checkpoint.state(run.folder)
        self.rows = self.rows or to_csv(none, header=True)
        self.commits = tuple(dict.fromkeys((*commits, run.meta["git_commit"])))
        self.began = self.saved = time.perf_counter()

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows to metrics.csv."""
        self.rows += to_csv(rows, header=False)
        run_files.write_metrics(self.run.folder, self.rows)

    def save(self, after: Position, lanes: loop.Lanes | None) -> None:
        """Write a checkpoint; without lanes where a program has ended."""
        seconds = {
            "compile": self.before["compile"] + self.compiled,
            "run": self.before["run"] + time.perf_counter() - self.began,
        }
        with self.deadline.timing("save" if lanes else "save rows"):
            run_files.write_metrics(self.run.folder, self.rows)
            state = State(after, self.rows, seconds, self.commits)
            checkpoint.save(self.run.folder, state, lanes)
        self.saved = time.perf_counter()

    def prune(self) -> None:
        """Drop the rows that no report shows; those of the bases are there by now."""
        rows = pd.read_csv(io.StringIO(self.rows), dtype=str)
        numbers = pd.read_csv(io.StringIO(self.rows))
        if report := staged.report_of(self.run.meta):
            kept = report.pruned(numbers, self.run.meta)
            self.rows = to_csv(rows.loc[kept.index], header=True)

    @property
    def is_due(self) -> bool:
        """Say whether the last checkpoint is old enough to write another."""
        return time.perf_counter() - self.saved > self.run.experiment.save_every


def to_csv(rows: pd.DataFrame, *, header: bool) -> str:
    text: str = rows.to_csv(index=False, header=header, lineterminator="\n")
    return text


def run_program(
    run: Run,
    which: Program,
    start: Position,
    trainer: Trainer,
    bar: Any,
    deadline: Deadline,
) -> bool:
    """Train a program from a position to its end, evaluate and keep its rows.

    Its number is that of `start`.

    Returns whether the deadline allowed that. If not, a checkpoint is written, unless
    the experiment saves no networks: then the program begins anew when it is resumed.
    """
    experiment, data_set = run.experiment, run.data_set
    if not deadline.allows("compile", "part", "save"):
        return False
    trainer.build(start.program, which.trials)
    begin(run, trainer, start)
    progress = Progress(run, trainer.built.seconds, deadline)
    guess(deadline, experiment, trainer.built)
    examples = experiment.problem.examples(data_set)
    parts = grid.parts(experiment, examples, which.batch_size)
    all_parts = trained_parts(experiment, parts, Position(start.program, 0))
    to_do = trained_parts(experiment, parts, start)
    done = lane_steps(experiment, data_set, which) // all_parts
    bar.update(done * (all_parts - to_do))
    rounds = len(trainer.placement.rounds)
    labels = [x for name in which.optimizers for x in grid.compared(experiment, name)]
    where = Path(which.condition, curves(experiment, which))
    watched = run.folder, where, labels, start.epoch
    with tensorboard.writers(*watched) as writers:
        for now, after in itertools.pairwise(positions(experiment, parts, start)):
            ends = after.epoch > now.epoch
            evaluated = ends and is_evaluated(experiment, after.epoch)
            trained = now.epoch >= experiment.idle_epochs
            asked = ["part"] * trained * rounds
            asked += [*["evaluation"] * evaluated, "save"]
            if not experiment.saves_networks:  # a stop within the program loses it
                asked = left(experiment, parts, now, rounds)
            if not deadline.allows(*asked):
                if experiment.saves_networks:
                    progress.save(now, trainer.fetch())
                return False
            if trained:
                with deadline.timing("part", rounds):
                    trainer.advance(now.epoch, now.step)
                bar.update(done)
            if ends:
                rows = end_epoch(progress, which, trainer, after)
                tensorboard.log(writers, rows)
            if progress.is_due and after.epoch < experiment.epochs:
                progress.save(after, trainer.fetch())
    if which.tests and experiment.evaluate_every:
        progress.prune()
    progress.save(Position(start.program + 1, 0), lanes=None)
    return True


def curves(experiment: Experiment, which: Program) -> str:
    """Name a program's curves, of an experiment that has several of an optimizer."""
    if not experiment.tuning_seeds:
        return ""
    ends = (f"{x[0]} to {x[-1]}" for x in (which.seeds, which.trials))
    return "seeds {}, trials {}".format(*ends)


def guess(deadline: Deadline, experiment: Experiment, built: Built) -> None:
    """Guess the seconds of what is timed later: to compile, to evaluate and to save.

    A program that is used again says nothing of the next one's. That of the evaluation
    is compiled too.
    """
    if built.seconds:
        deadline.last["compile"] = built.seconds
    deadline.last.setdefault("evaluation", deadline.last["compile"])
    if experiment.saves_networks:
        deadline.last.setdefault("save", nbytes(built.like) / WRITTEN_A_SECOND)


def needed(run: Run, which: Program) -> Program:
    """Leave out the trials that no report needs, of a program that is tested.

    They may be all of them.
    """
    report = staged.report_of(run.meta)
    if report is None or not which.tests:
        return which
    rows = pd.read_csv(io.StringIO(checkpoint.state(run.folder).rows))
    (name,) = which.optimizers
    shown = report.shown_trials(rows, run.meta, name)
    return replace(which, trials=tuple(x for x in which.trials if x in shown))


def begin(run: Run, trainer: Trainer, start: Position) -> None:
    """Make a program's lanes at a position: new, or from the checkpoint."""
    if start == Position(start.program, 0):
        trainer.start()
    else:
        trainer.restore(checkpoint.load(run.folder, start, trainer.built.like))


def left(experiment: Experiment, parts: range, now: Position, rounds: int) -> list[str]:
    """Name the pieces of work until a program's end, for a deadline."""
    epochs = range(now.epoch + 1, experiment.epochs + 1)
    evaluations = sum(is_evaluated(experiment, epoch) for epoch in epochs)
    pieces = trained_parts(experiment, parts, now) * rounds
    return ["part"] * pieces + ["evaluation"] * evaluations


def trained_parts(experiment: Experiment, parts: range, now: Position) -> int:
    """Return the number of parts until a program's end that train something."""
    starts = positions(experiment, parts, now)[:-1]
    return sum(each.epoch >= experiment.idle_epochs for each in starts)


def positions(experiment: Experiment, parts: range, start: Position) -> list[Position]:
    """List the parts that are left of a program, and last its end."""
    program = start.program
    of_all = itertools.product(range(experiment.epochs), parts)
    left = [Position(program, *x) for x in of_all if Position(program, *x) >= start]
    return [*left, Position(program, experiment.epochs)]


def end_epoch(
    progress: Progress, which: Program, trainer: Trainer, after: Position
) -> pd.DataFrame:
    """Return the rows of an epoch; if it is evaluated, with scores, and keep them."""
    run, experiment = progress.run, progress.run.experiment
    now = metric_rows.training(experiment, which, trainer.measured(), after.epoch)
    if not is_evaluated(experiment, after.epoch):
        return now
    with progress.deadline.timing("evaluation"):
        now = metric_rows.evaluation(experiment, which, now, trainer.evaluate)
    if after.epoch == experiment.epochs and weights.are_kept(experiment):
        weights.keep(run.folder, experiment, which, trainer.networks, now)
    progress.add(now)
    return now


def is_evaluated(experiment: Experiment, epoch: int) -> bool:
    """Say whether an experiment evaluates after so many epochs."""
    every = experiment.evaluate_every or experiment.epochs
    is_due = epoch >= experiment.evaluate_from and epoch % every == 0
    return epoch == experiment.epochs or is_due
