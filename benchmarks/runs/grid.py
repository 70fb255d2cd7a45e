"""From an experiment's numbers to what is run: trials, methods, programs."""

import itertools
from dataclasses import dataclass

import optax

from benchmarks.experiments import Experiment
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.optimizers.method import Method
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
    """Return the numbers that an optimizer tries, by name.

    Every optimizer makes as many trials as there are learning rates. One with numbers
    of its own tries each of their n combinations at every n-th learning rate, as far as
    the trials go. An experiment with strengths makes all these trials at each strength,
    where an optimizer is compared as a method of its own (see `labels`).
    """
    scale = dict(experiment.rate_scales).get(optimizer, 1.0)
    rates = tuple(float(f"{scale * x:.3g}") for x in experiment.learning_rates)
    own = OPTIMIZERS[optimizer].numbers
    values = list(itertools.product(*own.values()))
    tried = [(x, *others) for others in values for x in rates[:: len(values)]]
    columns = zip(*tried[: len(rates)], strict=True)
    numbers = dict(zip(("learning_rate", *own), columns, strict=True))
    if not experiment.strengths:
        return numbers
    at_each = {key: x * len(experiment.strengths) for key, x in numbers.items()}
    return at_each | {"strength": tuple(x for x in experiment.strengths for _ in rates)}


def labels(experiment: Experiment, optimizer: str) -> tuple[str, ...]:
    """Return the name under which each trial of an optimizer is compared."""
    names = [label(optimizer, x) for x in experiment.strengths] or [optimizer]
    return tuple(name for name in names for _ in experiment.learning_rates)


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
    shared = decay, experiment.settings, program.batch_size
    return {name: OPTIMIZERS[name].bind(*shared) for name in program.optimizers}


def decay_schedule(
    decays: tuple[tuple[float, float], ...], steps: int
) -> optax.Schedule:
    """A piecewise constant factor from 1: `decays` as in `Experiment`."""
    schedules = [optax.constant_schedule(factor) for _, factor in ((0, 1.0), *decays)]
    boundaries = [round(fraction * steps) for fraction, _ in decays]
    return optax.join_schedules(schedules, boundaries)
