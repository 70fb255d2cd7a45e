"""The experiments and all their numbers."""

from dataclasses import dataclass, replace

import jax
import optax
from flax import nnx

from benchmarks import data, models, tasks, train
from benchmarks.optimizers import OPTIMIZERS, Settings


@dataclass(frozen=True)
class Experiment:
    """A grid of runs: optimizers x learning rates x seeds.

    Attributes:
      name: of the experiment, and of the folder of its results.
      question: what it answers.
      optimizers: names in `benchmarks.optimizers`; the first is the baseline.
      learning_rates: the grid, increasing.
      seeds: number of seeds; each is an initialisation and a data order.
      epochs: passes over the train split.
      batch_size: images a step.
      decays: (fraction of all steps, factor from there on, relative to the start).
      settings: what the optimizers share.
      channels: of the network's two convolutions.
      validation: images held out to choose the learning rate.
      test: images held out for the final accuracy.
      split_seed: of the split into train, validation and test.
    """

    name: str
    question: str
    optimizers: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: int
    epochs: int
    batch_size: int
    decays: tuple[tuple[float, float], ...]
    settings: Settings
    channels: tuple[int, int]
    validation: int
    test: int
    split_seed: int

    @property
    def lanes(self) -> int:
        return len(self.optimizers) * len(self.learning_rates) * self.seeds


def log_grid(low: float, high: float, per_decade: int) -> tuple[float, ...]:
    """10**low to 10**high in equal ratios, rounded to 3 digits."""
    steps = range(round(low * per_decade), round(high * per_decade) + 1)
    return tuple(float(f"{10 ** (k / per_decade):.3g}") for k in steps)


DEMO = Experiment(
    name="demo",
    question="Does the anchor change the best accuracy, or the usable learning rates?",
    optimizers=("sgd", "trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x"),
    learning_rates=log_grid(-3.6, 0, per_decade=5),
    seeds=5,
    epochs=40,
    batch_size=8,
    decays=((0.5, 0.1), (0.75, 0.01)),
    settings=Settings(momentum=0.9, weight_decay=1e-4, period=10),
    channels=(8, 16),
    validation=360,
    test=360,
    split_seed=0,
)

EXPERIMENTS = {experiment.name: experiment for experiment in (DEMO,)}


def tiny(experiment: Experiment) -> Experiment:
    """The same lines in a few seconds: fewer learning rates, seeds and epochs."""
    middle = len(experiment.learning_rates) // 2
    return replace(
        experiment,
        name=f"{experiment.name}-tiny",
        learning_rates=experiment.learning_rates[middle - 1 : middle + 1],
        seeds=2,
        epochs=2,
    )


def data_set(experiment: Experiment) -> data.DataSet:
    return data.load(
        "digits",
        None,
        validation=experiment.validation,
        test=experiment.test,
        seed=experiment.split_seed,
    )


def task(experiment: Experiment, data_set: data.DataSet) -> tasks.Task:
    def make_model(rngs: nnx.Rngs) -> nnx.Module:
        _, height, width, channels = data_set.train.images.shape
        return models.SmallConvNet(
            (height, width, channels),
            experiment.channels,
            data_set.classes,
            rngs=rngs,
        )

    return tasks.classify(
        make_model,
        data_set.normalise,
        len(data_set.train.labels),
        experiment.batch_size,
    )


def total_steps(experiment: Experiment, examples: int) -> int:
    """Steps of a lane; an epoch leaves out the last incomplete batch."""
    return experiment.epochs * (examples // experiment.batch_size)


def optimizers(experiment: Experiment, steps: int) -> dict[str, train.MakeOptimizer]:
    """The experiment's optimizers as functions of a learning rate.

    Args:
      experiment: names them.
      steps: of a whole run, for the decays of the learning rate.
    """
    decay = decay_schedule(experiment.decays, steps)

    def bind(name: str) -> train.MakeOptimizer:
        def make(rate: jax.Array) -> optax.GradientTransformation:
            return OPTIMIZERS[name](
                lambda step: rate * decay(step), experiment.settings
            )

        return make

    return {name: bind(name) for name in experiment.optimizers}


def decay_schedule(
    decays: tuple[tuple[float, float], ...], steps: int
) -> optax.Schedule:
    """A piecewise constant factor from 1: `decays` as in `Experiment`."""
    schedules = [optax.constant_schedule(factor) for _, factor in ((0, 1.0), *decays)]
    boundaries = [round(fraction * steps) for fraction, _ in decays]
    return optax.join_schedules(schedules, boundaries)
