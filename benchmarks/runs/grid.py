"""From an experiment's numbers to what is run: trials, methods, programs."""

from dataclasses import dataclass

import optax

from benchmarks.experiments import THRESHOLDS, Experiment
from benchmarks.optimizers.table import ABLATIONS, OPTIMIZERS, Method, Trial
from benchmarks.report.statistics import Condition, label
from benchmarks.training.noise import Noise


@dataclass(frozen=True)
class Program:
    """What is compiled together and trained at once."""

    batch_size: int
    noise: Noise
    optimizers: tuple[str, ...]

    @property
    def condition(self) -> str:
        return str(Condition(self.batch_size, str(self.noise)))


def programs(experiment: Experiment) -> list[Program]:
    """In the order in which they are run."""
    names = experiment.optimizers
    together = [names] if experiment.together else [(name,) for name in names]
    return [
        Program(batch_size, noise, group)
        for batch_size in experiment.batch_sizes
        for noise in experiment.noises
        for group in together
    ]


def trials(experiment: Experiment, optimizer: str) -> dict[str, tuple[float, ...]]:
    """The numbers that an optimizer tries, by name.

    Everyone makes as many trials. An optimizer that is compared at several strengths
    makes so many at each, and is a method of its own at each (see `labels`).
    """
    scale = dict(experiment.rate_scales).get(optimizer, 1.0)
    rates = tuple(float(f"{scale * x:.3g}") for x in experiment.learning_rates)
    if strengths := strengths_of(experiment, optimizer):
        return {
            "learning_rate": rates * len(strengths),
            "strength": tuple(x for x in strengths for _ in rates),
        }
    if optimizer != "clipping":
        return {"learning_rate": rates}
    coarse = rates[:: len(THRESHOLDS)]
    pairs = [(x, threshold) for threshold in THRESHOLDS for x in coarse][: len(rates)]
    return {
        "learning_rate": tuple(x for x, _ in pairs),
        "threshold": tuple(threshold for _, threshold in pairs),
    }


def strengths_of(experiment: Experiment, optimizer: str) -> tuple[float, ...]:
    return experiment.strengths if optimizer in ABLATIONS else ()


def labels(experiment: Experiment, optimizer: str) -> tuple[str, ...]:
    """Under which name each trial of an optimizer is compared."""
    if strengths := strengths_of(experiment, optimizer):
        names = [label(optimizer, x) for x in strengths]
        return tuple(name for name in names for _ in experiment.learning_rates)
    return (optimizer,) * len(experiment.learning_rates)


def baselines(experiment: Experiment) -> dict[str, str | None]:
    """With what every name is compared: the first of its group; None for the first.

    The first of a later group is compared with the very first, and a strength with
    strength 0 of the same optimizer.
    """
    first = experiment.optimizers[0]
    pairs: dict[str, str | None] = {}
    for _, (base, *others) in experiment.groups:
        pairs.setdefault(base, first)
        for name in others:
            pairs.setdefault(name, base)
    pairs[first] = None
    if not experiment.strengths:
        return pairs
    return {
        label(name, x): label(name, 0.0) if x else base and label(base, 0.0)
        for name, base in pairs.items()
        for x in experiment.strengths
    }


def total_steps(experiment: Experiment, examples: int, batch_size: int) -> int:
    """Steps of a lane; an epoch leaves out the last incomplete batch."""
    return experiment.epochs * (examples // batch_size)


def parts(experiment: Experiment, examples: int, batch_size: int) -> range:
    """The first steps of the parts of an epoch; its `step` is how long each is.

    The parts are of one length, so that one program trains them: the largest divisor of
    the epoch's steps that is allowed.
    """
    steps = examples // batch_size
    allowed = range(min(experiment.part or steps, steps), 0, -1)
    return range(0, steps, next(n for n in allowed if steps % n == 0))


def methods(experiment: Experiment, program: Program, steps: int) -> dict[str, Method]:
    """The program's optimizers as the training loop runs them.

    Args:
      experiment: gives the settings.
      program: names the optimizers.
      steps: of a whole run, for the decays of the learning rate.
    """
    decay = decay_schedule(experiment.decays, steps)

    def bind(method: Method) -> Method:
        def make(trial: Trial) -> optax.GradientTransformation:
            return method.make(trial, decay, experiment.settings, program.batch_size)

        return method._replace(make=make)

    return {name: bind(OPTIMIZERS[name]) for name in program.optimizers}


def decay_schedule(
    decays: tuple[tuple[float, float], ...], steps: int
) -> optax.Schedule:
    """A piecewise constant factor from 1: `decays` as in `Experiment`."""
    schedules = [optax.constant_schedule(factor) for _, factor in ((0, 1.0), *decays)]
    boundaries = [round(fraction * steps) for fraction, _ in decays]
    return optax.join_schedules(schedules, boundaries)
