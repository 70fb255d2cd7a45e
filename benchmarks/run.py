"""Train an experiment, choose the learning rates, test once, write the results."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import analysis, experiments, results, train
from benchmarks.data import Split
from benchmarks.tasks import Task


class Trained(NamedTuple):
    """All lanes after training, and the seconds it took."""

    lanes: dict[str, train.Lane]
    compile_seconds: float
    run_seconds: float


def run(experiment: experiments.Experiment, command: str, folder: Path) -> None:
    """Run the experiment and write metrics.csv and meta.json to `folder`."""
    data_set = experiments.data_set(experiment)
    task = experiments.task(experiment, data_set)
    print(describe(experiment, data_set.train), flush=True)
    trained = train_lanes(experiment, task, data_set.train)
    evaluate = train.make_evaluate(task)
    metrics = validate(experiment, evaluate, trained.lanes, data_set.validation)
    metrics = test(experiment, evaluate, trained.lanes, data_set.test, metrics)
    meta = {
        "command": command,
        "experiment": asdict(experiment),
        "data_source": data_set.source,
        "seeds": experiment.seeds,
        "lanes": experiment.lanes,
        "steps": experiments.total_steps(experiment, len(data_set.train.labels)),
        "compile_seconds": round(trained.compile_seconds, 1),
        "run_seconds": round(trained.run_seconds, 1),
        **results.environment(),
    }
    results.write_run(folder, metrics, meta)


def describe(experiment: experiments.Experiment, split: Split) -> str:
    """What is about to be run, in two lines."""
    steps = experiments.total_steps(experiment, len(split.labels))
    return (
        f"{experiment.name}: {len(experiment.optimizers)} optimizers x "
        f"{len(experiment.learning_rates)} learning rates x {experiment.seeds} seeds "
        f"= {experiment.lanes} lanes\n"
        f"{experiment.epochs} epochs of {len(split.labels)} images = {steps} steps of "
        f"batch {experiment.batch_size} a lane, as one compiled program"
    )


def train_lanes(
    experiment: experiments.Experiment, task: Task, split: Split
) -> Trained:
    """Train every lane to the end, with a progress bar in lane-steps."""
    steps = experiments.total_steps(experiment, len(split.labels))
    optimizers = experiments.optimizers(experiment, steps)
    rates = jnp.asarray(experiment.learning_rates, jnp.float32)
    seeds = jnp.arange(experiment.seeds)
    start = time.perf_counter()
    init = jax.jit(
        lambda rates, seeds: train.init_lanes(task, optimizers, rates, seeds)
    )
    lanes = init(rates, seeds)
    epoch = jax.jit(train.make_epoch(task, optimizers), donate_argnums=0)
    first = jnp.int32(0)
    compiled = epoch.lower(lanes, split, rates, seeds, first).compile()
    compiled_at = time.perf_counter()
    total = experiment.lanes * steps
    with tqdm(total=total, unit="lane-step", unit_scale=True) as bar:
        for number in range(experiment.epochs):
            lanes = compiled(lanes, split, rates, seeds, jnp.int32(number))
            jax.block_until_ready(lanes)
            bar.update(total // experiment.epochs)
    return Trained(lanes, compiled_at - start, time.perf_counter() - compiled_at)


def validate(
    experiment: experiments.Experiment,
    evaluate: train.Evaluate,
    lanes: dict[str, train.Lane],
    split: Split,
) -> pd.DataFrame:
    """A row a run; the test accuracy is left empty."""
    shape = (experiment.seeds, len(experiment.learning_rates))
    seeds, rates = np.indices(shape)

    def runs(name: str) -> pd.DataFrame:
        lane = lanes[name]
        scores = evaluate(lane.params, lane.stats, split)
        columns = {
            "learning_rate": np.asarray(experiment.learning_rates)[rates],
            "seed": seeds,
            "validation_accuracy": rounded(scores["accuracy"]),
            "validation_loss": rounded(scores["loss"]),
            "train_loss": rounded(lane.loss),
            "diverged": np.asarray(lane.diverged | ~jnp.isfinite(scores["loss"])),
            "test_accuracy": np.full(shape, np.nan),
        }
        flat = {column: values.ravel() for column, values in columns.items()}
        return pd.DataFrame({"optimizer": name, **flat})

    return pd.concat(map(runs, experiment.optimizers), ignore_index=True)


def rounded(values: jax.Array) -> np.ndarray:
    """Float64, 6 decimals: what the file holds is what the choice was made from."""
    return np.asarray(values, np.float64).round(6)


def test(
    experiment: experiments.Experiment,
    evaluate: train.Evaluate,
    lanes: dict[str, train.Lane],
    split: Split,
    metrics: pd.DataFrame,
) -> pd.DataFrame:
    """Fill in the test accuracy at each optimizer's chosen learning rate only."""
    metrics = metrics.copy()
    for name in experiment.optimizers:
        best = analysis.best_learning_rate(metrics, name)
        column = experiment.learning_rates.index(best)
        chosen = slice(column, column + 1)
        best_lanes = jax.tree.map(lambda x, c=chosen: x[:, c], lanes[name])
        scores = evaluate(best_lanes.params, best_lanes.stats, split)["accuracy"]
        rows = (metrics.optimizer == name) & (metrics.learning_rate == best)
        metrics.loc[rows, "test_accuracy"] = rounded(scores).ravel()
    return metrics
