"""Run an experiment: train, choose on validation, test once, write the results."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import analysis, checkpoint, experiments, results, train
from benchmarks.checkpoint import Position
from benchmarks.data import DataSet, Split
from benchmarks.experiments import Experiment, Program


def run(
    experiment: Experiment,
    command: str,
    folder: Path,
    *,
    resume: bool,
    data_dir: Path | None = None,
) -> None:
    """Run the experiment and write metrics.csv and meta.json to `folder`.

    Each program's rows are written when it is done, and a checkpoint of a longer one
    every `save_every` seconds.

    Args:
      experiment: what to run.
      command: how it was called, for the meta data.
      folder: of the results.
      resume: go on with the run in `folder`; nothing is left to do if it is finished.
      data_dir: where the data set is; None is its usual place.
    """
    environment = results.environment()  # the commit, before files of it are rewritten
    data_set = experiments.data_set(experiment, data_dir)
    configuration = describe(experiment, data_set)
    if not resume:
        checkpoint.start(folder, configuration)
    position = checkpoint.position(folder, configuration)
    if position is None:
        return
    print(announce(experiment, len(data_set.train.labels)), flush=True)
    programs = experiments.programs(experiment)
    with tqdm(unit="lane-step", unit_scale=True, total=0) as bar:
        lane_steps = [count(experiment, data_set, program) for program in programs]
        bar.total = sum(lane_steps)
        bar.update(sum(lane_steps[: position.program]))
        for number, program in enumerate(programs):
            if number < position.program:
                continue
            epoch = position.epoch if number == position.program else 0
            bar.set_description(f"batch {program.batch_size}, {program.optimizers[0]}")
            run_program(
                experiment, data_set, folder, program, Position(number, epoch), bar
            )
    meta = {
        "command": command,
        **configuration,
        "lanes": experiment.lanes,
        "seconds": checkpoint.seconds(folder),
        **environment,
    }
    results.write_run(folder, checkpoint.rows(folder), meta)
    checkpoint.finish(folder)


def describe(experiment: Experiment, data_set: DataSet) -> dict[str, Any]:
    """What a run is: the same description, the same numbers."""
    return {
        "experiment": asdict(experiment),
        "trials": {
            name: experiments.trials(experiment, name) for name in experiment.optimizers
        },
        "data_source": data_set.source,
        "versions": results.versions(),
    }


def announce(experiment: Experiment, examples: int) -> str:
    """What is about to be run, in two lines."""
    programs = len(experiments.programs(experiment))
    batches = ", ".join(map(str, experiment.batch_sizes))
    return (
        f"{experiment.name}: {len(experiment.optimizers)} optimizers x "
        f"{len(experiment.learning_rates)} trials x {experiment.seeds} seeds x "
        f"{len(experiment.batch_sizes)} batch sizes ({batches}) = {experiment.lanes} "
        f"lanes\n{experiment.epochs} epochs of {examples} images each, as {programs} "
        f"compiled program{'s' if programs > 1 else ''}"
    )


def count(experiment: Experiment, data_set: DataSet, program: Program) -> int:
    """Steps of all the lanes of a program."""
    trials = len(program.optimizers) * len(experiment.learning_rates)
    examples = len(data_set.train.labels)
    steps = experiments.total_steps(experiment, examples, program.batch_size)
    return trials * experiment.seeds * steps


def run_program(
    experiment: Experiment,
    data_set: DataSet,
    folder: Path,
    program: Program,
    position: Position,
    bar: Any,
) -> None:
    """Train from `position` to the end of the program, evaluate and write its rows."""
    built = build(experiment, data_set, program, folder, position)
    lanes = built.lanes
    began = time.perf_counter()
    done = count(experiment, data_set, program) // experiment.epochs
    bar.update(position.epoch * done)
    saved = time.perf_counter()
    for number in range(position.epoch, experiment.epochs):
        lanes = jax.block_until_ready(built.advance(lanes, number))
        bar.update(done)
        if time.perf_counter() - saved > experiment.save_every:
            checkpoint.save(folder, Position(position.program, number + 1), lanes)
            saved = time.perf_counter()
    rows = validate(experiment, program, built.evaluate, lanes, data_set.validation)
    rows = test(built.evaluate, data_set.test, rows, lanes)
    seconds = {"compile": built.seconds, "run": time.perf_counter() - began}
    checkpoint.save_rows(folder, position.program, rows, seconds)
    results.write_metrics(folder, checkpoint.rows(folder))


Scores = Callable[[str, train.Lane, Split], dict[str, jax.Array]]


class Built(NamedTuple):
    """A program ready to run.

    Attributes:
      lanes: as they stand.
      advance: (lanes, number of the epoch) -> lanes after it; consumes its lanes.
      evaluate: (optimizer, its lanes, split) -> metrics of shape (s, l).
      seconds: to compile the epoch.
    """

    lanes: dict[str, train.Lane]
    advance: Callable[[dict[str, train.Lane], int], dict[str, train.Lane]]
    evaluate: Scores
    seconds: float


def build(
    experiment: Experiment,
    data_set: DataSet,
    program: Program,
    folder: Path,
    position: Position,
) -> Built:
    """Compile a program and take its lanes from the start or from the checkpoint."""
    examples = len(data_set.train.labels)
    task = experiments.task(experiment, data_set, program.batch_size)
    steps = experiments.total_steps(experiment, examples, program.batch_size)
    methods = experiments.methods(experiment, program, steps)
    trials = {
        name: {
            key: jnp.asarray(values, jnp.float32)
            for key, values in experiments.trials(experiment, name).items()
        }
        for name in program.optimizers
    }
    seeds = jnp.arange(experiment.seeds)
    init = jax.jit(lambda trials, seeds: train.init_lanes(task, methods, trials, seeds))
    like = jax.eval_shape(init, trials, seeds)
    epoch = jax.jit(train.make_epoch(task, methods), donate_argnums=0)
    began = time.perf_counter()
    compiled = epoch.lower(like, data_set.train, trials, seeds, jnp.int32(0)).compile()
    seconds = time.perf_counter() - began
    score = train.make_evaluate(task)

    def advance(lanes: dict[str, train.Lane], number: int) -> dict[str, train.Lane]:
        return compiled(lanes, data_set.train, trials, seeds, jnp.int32(number))

    def evaluate(name: str, lane: train.Lane, split: Split) -> dict[str, jax.Array]:
        evaluated = jax.vmap(jax.vmap(methods[name].evaluated))
        return score(evaluated(lane.params, lane.opt_state), lane.stats, split)

    resumed = position.epoch > 0
    lanes = checkpoint.load(folder, position, like) if resumed else init(trials, seeds)
    return Built(lanes, advance, evaluate, seconds)


def validate(
    experiment: Experiment,
    program: Program,
    evaluate: Scores,
    lanes: dict[str, train.Lane],
    split: Split,
) -> pd.DataFrame:
    """A row a run; the test accuracy is left empty."""
    shape = (experiment.seeds, len(experiment.learning_rates))
    seeds, trials = np.indices(shape)

    def runs(name: str) -> pd.DataFrame:
        lane, numbers = lanes[name], experiments.trials(experiment, name)
        scores = evaluate(name, lane, split)
        thresholds = numbers.get("threshold", (np.nan,) * shape[1])
        columns = {
            "trial": trials,
            "learning_rate": np.asarray(numbers["learning_rate"])[trials],
            "threshold": np.asarray(thresholds)[trials],
            "seed": seeds,
            "validation_accuracy": rounded(scores["accuracy"]),
            "validation_loss": rounded(scores["loss"]),
            "train_loss": rounded(lane.loss),
            "diverged": np.asarray(lane.diverged | ~jnp.isfinite(scores["loss"])),
            "test_accuracy": np.full(shape, np.nan),
        }
        flat = {column: values.ravel() for column, values in columns.items()}
        return pd.DataFrame(
            {"batch_size": program.batch_size, "optimizer": name, **flat}
        )

    return pd.concat(map(runs, program.optimizers), ignore_index=True)


def rounded(values: jax.Array) -> np.ndarray:
    """Float64, 6 decimals: what the file holds is what the choice was made from."""
    return np.asarray(values, np.float64).round(6)


def test(
    evaluate: Scores,
    split: Split,
    metrics: pd.DataFrame,
    lanes: dict[str, train.Lane],
) -> pd.DataFrame:
    """Fill in the test accuracy at each optimizer's chosen trial only."""
    metrics = metrics.copy()
    for name, lane in lanes.items():
        runs = metrics[metrics.optimizer == name]
        trial = analysis.best_trial(runs)
        chosen = slice(trial, trial + 1)
        picked = jax.tree.map(lambda x, c=chosen: x[:, c], lane)
        scores = evaluate(name, picked, split)["accuracy"]
        rows = runs.index[runs.trial == trial]
        metrics.loc[rows, "test_accuracy"] = rounded(scores).ravel()
    return metrics
