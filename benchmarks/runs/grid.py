"""The grid of an experiment: its programs, the numbers of its trials, its methods."""

import itertools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import optax

from benchmarks.experiments import Experiment
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.optimizers.method import Method
from benchmarks.report.statistics import Condition, label
from benchmarks.training.noise import Noise

OF_LARGE = 4  # trials of a large experiment in a program
Items = TypeVar("Items", range, tuple[int, ...])


@dataclass(frozen=True)
class Program:
    """The part of an experiment that is compiled together and trained at once.

    Attributes:
      batch_size: examples a step.
      noise: that is added to the gradients.
      optimizers: their names.
      seeds: of the runs.
      trials: of the runs, the same of each optimizer.
      tests: whether the runs are tested, at choices that others made.
    """

    batch_size: int
    noise: Noise
    optimizers: tuple[str, ...]
    seeds: range
    trials: tuple[int, ...]
    tests: bool = False

    @property
    def condition(self) -> str:
        """Name the batch size and the noise, as the tables do."""
        return str(Condition(self.batch_size, str(self.noise)))


def programs(experiment: Experiment) -> list[Program]:
    """List the programs of an experiment, in the order in which they are run.

    With tuning seeds each has two: these choose, and the others are tested. Here the
    latter make all trials; a run leaves out those that no report needs. Of a large
    experiment a program has one seed and a few trials.
    """
    names, first = experiment.optimizers, experiment.first_seed
    together = [names] if experiment.together else [(name,) for name in names]
    trials = tuple(range(len(labels(experiment, names[0]))))
    seeds = range(first, first + experiment.seeds)
    stages: tuple[tuple[range, bool], ...] = ((seeds, False),)
    if chosen_by := experiment.tuning_seeds:
        stages = (seeds[:chosen_by], False), (seeds[chosen_by:], True)
    most = (1, OF_LARGE) if experiment.large else (len(seeds), len(trials))
    return [
        Program(batch_size, noise, group, own, some, tests)
        for batch_size in experiment.batch_sizes
        for noise in experiment.noises
        for group in together
        for all_seeds, tests in stages
        for own in shares(all_seeds, most[0])
        for some in shares(trials, most[1])
    ]


def shares(items: Items, size: int) -> list[Items]:
    """Cut a sequence into consecutive ones, each as long as `size` or the rest."""
    return [items[k : k + size] for k in range(0, len(items), size)]


def numbers(experiment: Experiment, optimizer: str) -> dict[str, tuple[float, ...]]:
    """Return the numbers of an optimizer's trials, by name: a value each trial.

    Every optimizer makes as many trials as there are learning rates. One with numbers
    of its own tries each of their n combinations at every n-th learning rate, as far as
    the trials go. An experiment with strengths makes all these trials at each strength,
    where an optimizer is compared as a method of its own (see `labels`).
    """
    scale = dict(experiment.rate_scales).get(optimizer, 1.0)
    rates = tuple(float(f"{scale * x:.3g}") for x in experiment.learning_rates)
    instead = {key: x for name, key, x in experiment.values if name == optimizer}
    own = {**OPTIMIZERS[optimizer].numbers, **instead}
    values = list(itertools.product(*own.values()))
    tried = [(x, *others) for others in values for x in rates[:: len(values)]]
    columns = zip(*tried[: len(rates)], strict=True)
    by_name = dict(zip(("learning_rate", *own), columns, strict=True))
    if not experiment.strengths:
        return by_name
    at_each = {key: x * len(experiment.strengths) for key, x in by_name.items()}
    return at_each | {"strength": tuple(x for x in experiment.strengths for _ in rates)}


def number_arrays(
    experiment: Experiment, program: Program
) -> dict[str, dict[str, np.ndarray]]:
    """Return the numbers of a program's trials, by optimizer: float32 arrays."""
    return {
        name: {
            key: np.asarray(values, np.float32)[[*program.trials]]
            for key, values in numbers(experiment, name).items()
        }
        for name in program.optimizers
    }


def labels(experiment: Experiment, optimizer: str) -> tuple[str, ...]:
    """Name, for each trial of an optimizer, the method that it is a trial of."""
    names = [label(optimizer, x) for x in experiment.strengths] or [optimizer]
    return tuple(name for name in names for _ in experiment.learning_rates)


def compared(experiment: Experiment, optimizer: str) -> tuple[str, ...]:
    """Name each method that an optimizer is compared as, once."""
    return tuple(dict.fromkeys(labels(experiment, optimizer)))


def baselines(experiment: Experiment) -> dict[str, str | None]:
    """Return what each method is compared with: the first of its group.

    The first of a later group is compared with the very first, which has None. A
    strength is compared with strength 0 of the same optimizer.
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
    """Return the steps of a run; an epoch leaves out the last incomplete batch."""
    return experiment.epochs * (examples // batch_size)


def parts(experiment: Experiment, examples: int, batch_size: int) -> range:
    """Divide an epoch into equal parts; return their first steps.

    The range's step is the length of a part: the largest divisor of the epoch's steps
    that is allowed. All parts have it, so that one program trains them.
    """
    steps = examples // batch_size
    allowed = range(min(experiment.part or steps, steps), 0, -1)
    return range(0, steps, next(n for n in allowed if steps % n == 0))


def methods(experiment: Experiment, program: Program, steps: int) -> dict[str, Method]:
    """Return a program's optimizers as the training loop runs them, by name.

    Args:
      experiment: gives the settings.
      program: names the optimizers.
      steps: of a whole run, for the decays of the learning rate.
    """
    decay = decay_schedule(experiment.decays, steps)
    if experiment.cosine:
        decay = optax.cosine_decay_schedule(1.0, steps)
    shared = decay, experiment.settings, program.batch_size
    return {name: OPTIMIZERS[name].bind(*shared) for name in program.optimizers}


def decay_schedule(
    decays: tuple[tuple[float, float], ...], steps: int
) -> optax.Schedule:
    """Make a piecewise constant factor from 1; `decays` are those of `Experiment`."""
    schedules = [optax.constant_schedule(factor) for _, factor in ((0, 1.0), *decays)]
    boundaries = [round(fraction * steps) for fraction, _ in decays]
    return optax.join_schedules(schedules, boundaries)
