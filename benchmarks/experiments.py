"""The experiments and all their numbers."""

from dataclasses import dataclass, replace

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
      groups: (title, names in `benchmarks.optimizers`), a row of panels each; the first
        name of the first group is the baseline of the table.
      learning_rates: the grid of the SGD family, increasing; others scale it.
      seeds: number of seeds; each is an initialisation and a data order.
      epochs: passes over the train split.
      batch_sizes: images a step.
      decays: (fraction of all steps, factor from there on, relative to the start).
      settings: what the optimizers share.
      channels: of the network's two convolutions.
      validation: images held out to choose the learning rate.
      test: images held out for the final accuracy.
      split_seed: of the split into train, validation and test.
      together: whether all optimizers are compiled into one program, or one each.
      save_every: seconds between two checkpoints, at the end of an epoch.
    """

    name: str
    question: str
    cost: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    learning_rates: tuple[float, ...]
    seeds: int
    epochs: int
    batch_sizes: tuple[int, ...]
    decays: tuple[tuple[float, float], ...]
    settings: Settings
    channels: tuple[int, int]
    validation: int
    test: int
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

# An optimizer's learning rates relative to those of SGD.
RATE_SCALES = {"schedule-free": 10.0} | dict.fromkeys(
    (*ADAM, *ADAM_SCALED, "adamw", "adam, b2 rescaled"), 0.1
)
THRESHOLDS = (0.5, 2.0)

DEMO = Experiment(
    name="demo",
    question="Does the anchor change the best accuracy, or the usable learning rates?",
    cost="1 to 2 minutes on 2 CPU cores",
    groups=(
        (
            "all learning rates",
            ("sgd", "trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x"),
        ),
    ),
    learning_rates=log_grid(-3.6, 0, per_decade=5),
    seeds=5,
    epochs=40,
    batch_sizes=(8,),
    decays=PUBLISHED_DECAYS,
    settings=PUBLISHED,
    channels=(8, 16),
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
    epochs=20,
    batch_sizes=(1, 2, 4, 8, 32, 128),
    together=False,
)

EXPERIMENTS = {experiment.name: experiment for experiment in (DEMO, SENSITIVITY_DIGITS)}


def tiny(experiment: Experiment) -> Experiment:
    """The same lines in a few seconds: fewer learning rates, seeds and epochs."""
    middle = len(experiment.learning_rates) // 2
    return replace(
        experiment,
        name=f"{experiment.name}-tiny",
        learning_rates=experiment.learning_rates[middle - 1 : middle + 1],
        batch_sizes=experiment.batch_sizes[-2:],
        seeds=2,
        epochs=2,
        save_every=0.0,
    )


def programs(experiment: Experiment) -> list[Program]:
    """In the order in which they are run."""
    names = experiment.optimizers
    together = [names] if experiment.together else [(name,) for name in names]
    return [Program(b, group) for b in experiment.batch_sizes for group in together]


def trials(experiment: Experiment, optimizer: str) -> dict[str, tuple[float, ...]]:
    """The numbers that an optimizer tries, by name; everyone makes as many trials."""
    scale = RATE_SCALES.get(optimizer, 1.0)
    rates = tuple(float(f"{scale * x:.3g}") for x in experiment.learning_rates)
    if optimizer != "clipping":
        return {"learning_rate": rates}
    coarse = rates[:: len(THRESHOLDS)]
    pairs = [(x, threshold) for threshold in THRESHOLDS for x in coarse][: len(rates)]
    return {
        "learning_rate": tuple(x for x, _ in pairs),
        "threshold": tuple(threshold for _, threshold in pairs),
    }


def data_set(experiment: Experiment) -> data.DataSet:
    return data.load(
        "digits",
        None,
        validation=experiment.validation,
        test=experiment.test,
        seed=experiment.split_seed,
    )


def task(experiment: Experiment, data_set: data.DataSet, batch_size: int) -> tasks.Task:
    def make_model(rngs: nnx.Rngs) -> nnx.Module:
        _, height, width, channels = data_set.train.images.shape
        return models.SmallConvNet(
            (height, width, channels),
            experiment.channels,
            data_set.classes,
            rngs=rngs,
        )

    examples = len(data_set.train.labels)
    return tasks.classify(make_model, data_set.normalise, examples, batch_size)


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
