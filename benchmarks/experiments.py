"""The experiments and all their numbers."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks import data, models, tasks, train
from benchmarks.optimizers import OPTIMIZERS, Settings, Trial


@dataclass(frozen=True)
class Experiment:
    """A grid of runs: batch sizes x optimizers x trials x seeds.

    Attributes:
      name: of the experiment, and of the folder of its results.
      question: what it answers.
      cost: what it takes, and where that was seen.
      data: name of the data set, as `benchmarks.data.load` takes it.
      train: images to train on; None takes all that validation leaves.
      groups: (title, names in `benchmarks.optimizers`), a row of panels each; the first
        name of the first group is the baseline of the table.
      learning_rates: the grid of the SGD family, increasing.
      rate_scales: (optimizer, its learning rates relative to that grid).
      seeds: number of seeds; each is an initialisation and a data order.
      epochs: passes over the train split.
      batch_sizes: images a step.
      decays: (fraction of all steps, factor from there on, relative to the start).
      settings: what the optimizers share.
      network: "small" (two convolutions) or "resnet18".
      channels: of the two convolutions, or (width of the first stage,).
      dtype: of the residual network's activations.
      augment: whether train images are cropped and flipped at random.
      validation: images held out to choose the learning rate.
      test: images held out for the final accuracy; None takes the official test set.
      split_seed: of the split into train, validation and test.
      together: whether all optimizers are compiled into one program, or one each.
      save_every: seconds between two checkpoints, at the end of an epoch.
    """

    name: str
    question: str
    cost: str
    data: str
    train: int | None
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    learning_rates: tuple[float, ...]
    rate_scales: tuple[tuple[str, float], ...]
    seeds: int
    epochs: int
    batch_sizes: tuple[int, ...]
    decays: tuple[tuple[float, float], ...]
    settings: Settings
    network: str
    channels: tuple[int, ...]
    dtype: str
    augment: bool
    validation: int
    test: int | None
    split_seed: int
    together: bool
    save_every: float

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Every optimizer once, the baseline first."""
        return tuple(dict.fromkeys(name for _, names in self.groups for name in names))

    @property
    def lanes(self) -> int:
        trials = len(self.optimizers) * len(self.learning_rates)
        return len(self.batch_sizes) * trials * self.seeds


@dataclass(frozen=True)
class Program:
    """What is compiled together and trained at once."""

    batch_size: int
    optimizers: tuple[str, ...]


def log_grid(low: float, high: float, per_decade: int) -> tuple[float, ...]:
    """10**low to 10**high in equal ratios, rounded to 3 digits."""
    steps = range(round(low * per_decade), round(high * per_decade) + 1)
    return tuple(float(f"{10 ** (k / per_decade):.3g}") for k in steps)


PUBLISHED = Settings(momentum=0.9, weight_decay=1e-4, period=10)
PUBLISHED_DECAYS = ((0.5, 0.1), (0.75, 0.01))

SGD = ("sgd", "trsgd", "trsgdw", "inner decay alone", "anchor alone")
SGD_SCALED = ("sgd at 0.293 x", "sgd at 0.212 x")
ADAM = ("adam", "tradam", "tradamw", "adam, inner decay alone", "adam, anchor alone")
ADAM_SCALED = ("adam at 0.293 x",)
PEERS = ("lookahead", "weight average", "schedule-free", "sam", "clipping")
MORE_PEERS = ("accumulation", "adam, b2 rescaled", "muon")

THRESHOLDS = (0.5, 2.0)  # of the gradient's norm, for clipping
ALL_ADAM = (*ADAM, *ADAM_SCALED, "adamw", "adam, b2 rescaled")

DEMO = Experiment(
    name="demo",
    question="Does the anchor change the best accuracy, or the usable learning rates?",
    cost="1 to 2 minutes on 2 CPU cores",
    data="digits",
    train=None,
    groups=(
        (
            "SGD, its anchored forms and controls",
            ("sgd", "trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x"),
        ),
    ),
    learning_rates=log_grid(-3.6, 0, per_decade=5),
    rate_scales=(),
    seeds=5,
    epochs=40,
    batch_sizes=(8,),
    decays=PUBLISHED_DECAYS,
    settings=PUBLISHED,
    network="small",
    channels=(8, 16),
    dtype="float32",
    augment=False,
    validation=360,
    test=360,
    split_seed=0,
    together=True,
    save_every=30.0,
)

SENSITIVITY_DIGITS = replace(
    DEMO,
    name="sensitivity-digits",
    question="How does accuracy depend on the learning rate, at every batch size, for "
    "the method, its controls and its peers, each tuned alike?",
    cost="about half an hour on 2 CPU cores",
    groups=(
        ("SGD, its anchored forms and controls", (*SGD, *SGD_SCALED)),
        ("Adam, its anchored forms and controls", (*ADAM, *ADAM_SCALED, "adamw")),
        ("SGD and peers", ("sgd", *PEERS, *MORE_PEERS)),
    ),
    learning_rates=log_grid(-4, 0.25, per_decade=4),
    rate_scales=(("schedule-free", 10.0), *((name, 0.1) for name in ALL_ADAM)),
    epochs=20,
    batch_sizes=(1, 2, 4, 8, 32, 128),
    together=False,
)

PAPER_CIFAR10 = replace(
    DEMO,
    name="paper-cifar10",
    question="The published comparison on CIFAR-10: batch 8, one learning rate each.",
    cost="not yet run in full: 4 x 5 lanes of 1,125,000 steps of ResNet-18",
    data="cifar10",
    groups=(
        ("SGD against TRSGD", ("sgd", "trsgd")),
        ("Adam against TRAdam", ("adam", "tradam")),
    ),
    learning_rates=(0.1,),
    rate_scales=(("adam", 0.01), ("tradam", 0.01)),
    epochs=200,
    network="resnet18",
    channels=(64,),
    dtype="bfloat16",
    augment=True,
    validation=5000,
    test=None,
    together=False,
)
PAPER_CIFAR100 = replace(
    PAPER_CIFAR10,
    name="paper-cifar100",
    question="The published comparison on CIFAR-100: batch 8, one learning rate each.",
    data="cifar100",
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (DEMO, SENSITIVITY_DIGITS, PAPER_CIFAR10, PAPER_CIFAR100)
}


def tiny(experiment: Experiment) -> Experiment:
    """The same lines in a short time: less of everything, a narrow residual network."""
    middle = len(experiment.learning_rates) // 2
    smaller = replace(
        experiment,
        name=f"{experiment.name}-tiny",
        learning_rates=experiment.learning_rates[max(middle - 1, 0) : middle + 1],
        batch_sizes=experiment.batch_sizes[-2:],
        seeds=2,
        epochs=2,
        save_every=0.0,
    )
    if experiment.data == "digits":
        return smaller
    return replace(smaller, train=200, validation=200, test=200, channels=(8,))


def programs(experiment: Experiment) -> list[Program]:
    """In the order in which they are run."""
    names = experiment.optimizers
    together = [names] if experiment.together else [(name,) for name in names]
    return [Program(b, group) for b in experiment.batch_sizes for group in together]


def trials(experiment: Experiment, optimizer: str) -> dict[str, tuple[float, ...]]:
    """The numbers that an optimizer tries, by name; everyone makes as many trials."""
    scale = dict(experiment.rate_scales).get(optimizer, 1.0)
    rates = tuple(float(f"{scale * x:.3g}") for x in experiment.learning_rates)
    if optimizer != "clipping":
        return {"learning_rate": rates}
    coarse = rates[:: len(THRESHOLDS)]
    pairs = [(x, threshold) for threshold in THRESHOLDS for x in coarse][: len(rates)]
    return {
        "learning_rate": tuple(x for x, _ in pairs),
        "threshold": tuple(threshold for _, threshold in pairs),
    }


def data_set(experiment: Experiment, data_dir: Path | None) -> data.DataSet:
    return data.load(
        experiment.data,
        data_dir,
        train=experiment.train,
        validation=experiment.validation,
        test=experiment.test,
        seed=experiment.split_seed,
    )


def task(experiment: Experiment, data_set: data.DataSet, batch_size: int) -> tasks.Task:
    _, height, width, channels = data_set.train.images.shape

    def small(rngs: nnx.Rngs) -> nnx.Module:
        first, second = experiment.channels
        shape = (height, width, channels)
        return models.SmallConvNet(shape, (first, second), data_set.classes, rngs=rngs)

    def resnet18(rngs: nnx.Rngs) -> nnx.Module:
        return models.ResNet18(
            data_set.classes,
            width=experiment.channels[0],
            in_features=channels,
            dtype=jnp.dtype(experiment.dtype),
            rngs=rngs,
        )

    def normalise_and_augment(images: jax.Array, key: jax.Array) -> jax.Array:
        images = data_set.normalise(images)
        return data.crop_and_flip(key, images) if experiment.augment else images

    return tasks.classify(
        {"small": small, "resnet18": resnet18}[experiment.network],
        data_set.normalise,
        normalise_and_augment,
        len(data_set.train.labels),
        batch_size,
    )


def total_steps(experiment: Experiment, examples: int, batch_size: int) -> int:
    """Steps of a lane; an epoch leaves out the last incomplete batch."""
    return experiment.epochs * (examples // batch_size)


def methods(
    experiment: Experiment, program: Program, steps: int
) -> dict[str, train.Method]:
    """The program's optimizers as the training loop runs them.

    Args:
      experiment: gives the settings.
      program: names the optimizers.
      steps: of a whole run, for the decays of the learning rate.
    """
    decay = decay_schedule(experiment.decays, steps)

    def bind(name: str) -> train.Method:
        optimizer = OPTIMIZERS[name]

        def make(trial: Trial) -> optax.GradientTransformation:
            return optimizer.make(trial, decay, experiment.settings, program.batch_size)

        return train.Method(
            make, optimizer.start, optimizer.gradient_at, optimizer.evaluated
        )

    return {name: bind(name) for name in program.optimizers}


def decay_schedule(
    decays: tuple[tuple[float, float], ...], steps: int
) -> optax.Schedule:
    """A piecewise constant factor from 1: `decays` as in `Experiment`."""
    schedules = [optax.constant_schedule(factor) for _, factor in ((0, 1.0), *decays)]
    boundaries = [round(fraction * steps) for fraction, _ in decays]
    return optax.join_schedules(schedules, boundaries)
