"""Run an experiment: train, evaluate, write the results as they come."""

import itertools
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
from benchmarks.deadline import Deadline
from benchmarks.experiments import Experiment
from benchmarks.program import Built
from benchmarks.tasks import DataSet, Sampler

WRITTEN_A_SECOND = 200e6  # bytes of a checkpoint, before one was timed


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


def run(run: Run, deadline: Deadline | None = None) -> bool:
    """Train, and write metrics.csv as it goes and meta.json at the end.

    A checkpoint is written every `save_every` seconds, after a part of an epoch.

    Returns:
      Whether the run is finished. If not, it goes on from where the deadline stopped it
      when it is resumed.
    """
    experiment, folder, position = run.experiment, run.folder, run.position
    print(announce(experiment, run.data_set, folder), flush=True)
    deadline = deadline or Deadline()
    programs = assemble.programs(experiment)
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
    results.write_run(folder, checkpoint.rows(folder), meta)
    checkpoint.finish(folder)
    return True


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
        f"{board.announce(folder)}"
    )


def count(experiment: Experiment, data_set: DataSet, program: Program) -> int:
    """Steps of all the lanes of a program."""
    trials = sum(len(assemble.labels(experiment, name)) for name in program.optimizers)
    examples = experiment.problem.examples(data_set)
    steps = assemble.total_steps(experiment, examples, program.batch_size)
    return trials * experiment.seeds * steps


class Progress:
    """The rows of a program, kept on disk with the seconds that they took."""

    def __init__(self, run: Run, start: Position, compiled: float, deadline: Deadline):
        self.run, self.number, self.deadline = run, start.program, deadline
        self.rows, self.before = checkpoint.load_part(run.folder, start)
        self.compiled = compiled
        self.began = self.saved = time.perf_counter()

    def keep(self, epochs: int) -> None:
        """Write the rows; `epochs` are done."""
        experiment, folder = self.run.experiment, self.run.folder
        seconds = {
            "compile": self.before["compile"] + self.compiled,
            "run": self.before["run"] + time.perf_counter() - self.began,
        }
        none = pd.DataFrame(columns=results.columns(experiment.problem))
        part, finished = pd.concat(self.rows or [none]), epochs == experiment.epochs
        checkpoint.save_part(folder, self.number, part, seconds, finished=finished)
        results.write_metrics(folder, checkpoint.rows(folder))

    def save(self, after: Position, lanes: dict[str, train.Lane]) -> None:
        """Write a checkpoint too."""
        with self.deadline.timing("save"):
            self.keep(after.epoch)
            checkpoint.save(self.run.folder, after, lanes)
        self.saved = time.perf_counter()

    @property
    def is_due(self) -> bool:
        return time.perf_counter() - self.saved > self.run.experiment.save_every


def run_program(
    run: Run,
    which: Program,
    start: Position,
    score: train.Evaluate,
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
    parts = assemble.parts(
        experiment, experiment.problem.examples(run.data_set), which.batch_size
    )
    done = count(experiment, run.data_set, which) // (experiment.epochs * len(parts))
    bar.update(done * (start.epoch * len(parts) + start.step // parts.step))
    labels = [x for name in which.optimizers for x in assemble.labels(experiment, name)]
    unique = list(dict.fromkeys(labels))
    with board.writers(folder, which.condition, unique, start.epoch) as writers:
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
                board.log(writers, end_epoch(progress, which, built, lanes, after))
            if progress.is_due and after.epoch < experiment.epochs:
                progress.save(after, lanes)
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
    lanes: dict[str, train.Lane],
    after: Position,
) -> pd.DataFrame:
    """The rows of the epoch, with scores and kept if it is one that is evaluated."""
    run, experiment = progress.run, progress.run.experiment
    now = scores.training(experiment, which, lanes, after.epoch)
    if not is_evaluated(experiment, after.epoch):
        return now
    with progress.deadline.timing("evaluation"):
        now = scores.evaluation(
            experiment, which, now, built.evaluate, lanes, run.data_set
        )
    progress.rows.append(now)
    if after.epoch == experiment.epochs and isinstance(experiment.problem, Sampler):
        weights.keep(run.folder, experiment, which, built, lanes, now)
    progress.keep(after.epoch)
    return now


def is_evaluated(experiment: Experiment, epoch: int) -> bool:
    every = experiment.evaluate_every or experiment.epochs
    return epoch == experiment.epochs or epoch % every == 0
