"""An experiment: the numbers of a grid of runs."""

import math
from dataclasses import dataclass, replace

from benchmarks.optimizers.method import Settings
from benchmarks.tasks.problem import Problem
from benchmarks.training.noise import Noise

Group = tuple[str, tuple[str, ...]]
Value = tuple[str, str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of runs: batch sizes x noises x optimizers x trials x seeds.

    Attributes:
      name: the experiment's name, and that of the folder of its results.
      question: the question that it answers.
      cost: the time that it takes, and where that was seen.
      gpu_cost: the time that it takes on one GPU.
      problem: the numbers of what is trained, on which data.
      groups: (title, names in `benchmarks.optimizers.OPTIMIZERS`), a row of panels
        each. The others of a group are compared with its first name, the baseline.
      contrasts: (method, control), pairs that are compared besides.
      learning_rates: the grid of the SGD family, increasing.
      rate_scales: (optimizer, its learning rates relative to that grid).
      strengths: values of the number `strength`, where all optimizers read it. Each is
        tried at every learning rate. An optimizer at each strength is compared as a
        method of its own, with strength 0, which comes first.
      seeds: the number of seeds; each is an initialisation and a data order.
      epochs: passes that each show as many examples as the problem says.
      evaluate_every: epochs between two evaluations; None evaluates at the end only.
      batch_sizes: examples a step.
      noises: noises that are added to the gradients, each in runs of its own.
      decays: (fraction of all steps, factor of the learning rate from there on).
      settings: the numbers that all optimizers share.
      together: whether one program trains all optimizers, which fills a GPU; else each
        has a program of its own. Networks are vectors in the one program: it is for
        optimizers that treat every parameter alike.
      save_every: seconds between two checkpoints, at the end of a part. Infinity is for
        networks that are too large to save: a program that is stopped begins anew, no
        weights are kept, and a run's folder has only rows, of finished programs.
      part: the most steps after which a run can stop; None is an epoch.
      first_seed: the lowest seed; the parts of a pooled experiment have others.
      primary: the contrasts that the experiment was made for, chosen before it ran.
      tuning_seeds: the first so many seeds make all trials and are validated at every
        evaluation. Then the others make the trials that the report chooses by that, and
        are tested. With 0 all seeds choose, and the chosen trial is tested at the end.
      evaluate_from: the first epoch after which runs are evaluated.
      values: (optimizer, a number of its own, the values to try instead of its usual
        ones).
      cosine: whether the learning rate falls to 0 along half a period of a cosine; then
        there are no `decays`.
      at_once: replicas that a core of a CPU trains together, about: more leave its
        caches.
      large: whether one replica fills a device. Then they are trained one by one there,
        and a program has one seed and a few trials, so that few are in memory.
      idle_epochs: the first so many epochs train nothing: networks are evaluated as
        they are given, before the first task that is trained.
    """

    name: str
    question: str
    cost: str
    gpu_cost: str = "not measured"
    problem: Problem
    groups: tuple[Group, ...]
    contrasts: tuple[tuple[str, str], ...] = ()
    learning_rates: tuple[float, ...]
    rate_scales: tuple[tuple[str, float], ...] = ()
    strengths: tuple[float, ...] = ()
    seeds: int
    epochs: int
    evaluate_every: int | None = None
    batch_sizes: tuple[int, ...]
    noises: tuple[Noise, ...] = (Noise(),)
    decays: tuple[tuple[float, float], ...] = ()
    settings: Settings
    together: bool = False
    save_every: float = 30.0
    part: int | None = None
    first_seed: int = 0
    primary: tuple[tuple[str, str], ...] = ()
    tuning_seeds: int = 0
    evaluate_from: int = 0
    values: tuple[Value, ...] = ()
    cosine: bool = False
    at_once: int = 10
    large: bool = False
    idle_epochs: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that do not go together.

        Raises:
          ValueError: there is more than one condition, or one program of several
            optimizers, or a method is trained before the first of a group of its; or
            the learning rate has two schedules; or a series ends before its last task,
            or idles in another than its first.
        """
        if self.cosine and self.decays:
            raise ValueError(
                f"{self.name}: the learning rate falls along a cosine or by the "
                "decays; set cosine=False or decays=()."
            )
        self.check_series()
        if not self.tuning_seeds:
            if self.large:
                raise ValueError(f"{self.name}: a large experiment needs tuning seeds.")
            return
        conditions = len(self.batch_sizes), len(self.noises), len(self.strengths)
        if self.together or conditions != (1, 1, 0):
            raise ValueError(
                f"{self.name}: tuning seeds choose for one batch size and noise, "
                "without strengths, where each optimizer has a program of its own."
            )
        order = [*self.optimizers]
        for title, (base, *others) in self.groups:
            if any(order.index(name) < order.index(base) for name in others):
                raise ValueError(
                    f"{self.name}: {base}, the first of {title!r}, has to be in an "
                    "earlier group than its other methods, or in the same."
                )

    def check_series(self) -> None:
        """Refuse idle epochs that are not the first task's, and an early end."""
        tasks, each = (getattr(self.problem, x, 0) for x in ("tasks", "epochs_each"))
        if tasks and not each and self.epochs != tasks:
            raise ValueError(
                f"{self.name} has {tasks} tasks of an epoch each; leave out --epochs."
            )
        if self.idle_epochs and self.idle_epochs != each:
            raise ValueError(
                f"{self.name} has idle_epochs={self.idle_epochs}, and a task before it "
                f"begins has {each} epochs; write idle_epochs={each}."
            )
        if each and self.epochs <= (start := (tasks - 1) * each):
            raise ValueError(
                f"{self.name} ends after epoch {self.epochs}, and its last task begins "
                f"after epoch {start}; give more --epochs."
            )

    @property
    def saves_networks(self) -> bool:
        """Say whether checkpoints within a program, and weights, are written."""
        return math.isfinite(self.save_every)

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Return every optimizer once, in the order of the groups."""
        return tuple(dict.fromkeys(name for _, names in self.groups for name in names))

    @property
    def runs(self) -> int:
        """Return the number of runs; with tuning seeds, the most that there can be."""
        trials = len(self.optimizers) * len(self.learning_rates)
        strengths = max(1, len(self.strengths))
        conditions = len(self.batch_sizes) * len(self.noises)
        return conditions * trials * strengths * self.seeds


def log_grid(low: float, high: float, per_decade: int) -> tuple[float, ...]:
    """Return numbers from 10**low to 10**high in equal ratios, rounded to 3 digits."""
    steps = range(round(low * per_decade), round(high * per_decade) + 1)
    return tuple(float(f"{10 ** (k / per_decade):.3g}") for k in steps)


def spread(lowest: float, span: float, number: int) -> tuple[float, ...]:
    """Return numbers up to `span` times the lowest in equal ratios, of 3 digits."""
    last = number - 1
    return tuple(float(f"{lowest * span ** (k / last):.3g}") for k in range(number))


def tiny(experiment: Experiment) -> Experiment:
    """Return an experiment with less of everything, which runs the same lines."""
    middle = len(experiment.learning_rates) // 2
    return replace(
        experiment,
        name=f"{experiment.name}-tiny",
        problem=experiment.problem.tiny(),
        learning_rates=experiment.learning_rates[max(middle - 1, 0) : middle + 1],
        strengths=experiment.strengths[:2],
        batch_sizes=experiment.batch_sizes[-2:],
        seeds=2,
        epochs=2,
        save_every=0.0 if experiment.saves_networks else math.inf,
        tuning_seeds=min(experiment.tuning_seeds, 1),
        evaluate_from=min(experiment.evaluate_from, 1),
    )
