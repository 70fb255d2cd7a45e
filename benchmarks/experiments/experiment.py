"""What an experiment is: the numbers of a grid of runs."""

from dataclasses import dataclass, replace

from benchmarks.optimizers.method import Settings
from benchmarks.tasks.problem import Problem
from benchmarks.training.noise import Noise

Group = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Experiment:
    """A grid of runs: batch sizes x noises x optimizers x trials x seeds.

    Attributes:
      name: of the experiment, and of the folder of its results.
      question: what it answers.
      cost: what it takes, and where that was seen.
      gpu_cost: the same on one GPU.
      problem: the numbers of what is trained, on what data.
      groups: (title, names in `benchmarks.optimizers`), a row of panels each. The first
        name is the baseline that the others of the group are compared with.
      contrasts: (method, control), pairs that are compared besides.
      primary: those of them that the experiment was made for, chosen before it ran.
      learning_rates: the grid of the SGD family, increasing.
      rate_scales: (optimizer, its learning rates relative to that grid).
      strengths: for optimizers that read the number `strength`, which all of the
        experiment must then be. Each is tried at every learning rate, and an optimizer
        at each is compared as a method of its own, with strength 0, which comes first.
      seeds: number of seeds; each is an initialisation and a data order.
      first_seed: where they begin: a part of a pooled experiment has seeds of its own.
      epochs: each shows as many examples as the problem says.
      evaluate_every: epochs between two evaluations; None evaluates at the end only.
      batch_sizes: examples a step.
      noises: added to the gradients, one after the other.
      decays: (fraction of all steps, factor from there on, relative to the start).
      settings: what the optimizers share.
      together: whether the gradients of all optimizers' lanes are taken together, in
        one program, which fills a GPU; else each optimizer has a program of its own.
        A network is a vector then: for optimizers that treat every parameter alike.
      save_every: seconds between two checkpoints, at the end of a part.
      part: steps after which a run can stop, at most; None is an epoch.
    """

    name: str
    question: str
    cost: str
    gpu_cost: str
    problem: Problem
    groups: tuple[Group, ...]
    contrasts: tuple[tuple[str, str], ...]
    learning_rates: tuple[float, ...]
    rate_scales: tuple[tuple[str, float], ...]
    strengths: tuple[float, ...]
    seeds: int
    epochs: int
    evaluate_every: int | None
    batch_sizes: tuple[int, ...]
    noises: tuple[Noise, ...]
    decays: tuple[tuple[float, float], ...]
    settings: Settings
    together: bool
    save_every: float
    part: int | None = None
    first_seed: int = 0
    primary: tuple[tuple[str, str], ...] = ()

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Every optimizer once, in the order of the groups."""
        return tuple(dict.fromkeys(name for _, names in self.groups for name in names))

    @property
    def lanes(self) -> int:
        trials = len(self.optimizers) * len(self.learning_rates)
        strengths = max(1, len(self.strengths))
        conditions = len(self.batch_sizes) * len(self.noises)
        return conditions * trials * strengths * self.seeds


def log_grid(low: float, high: float, per_decade: int) -> tuple[float, ...]:
    """10**low to 10**high in equal ratios, rounded to 3 digits."""
    steps = range(round(low * per_decade), round(high * per_decade) + 1)
    return tuple(float(f"{10 ** (k / per_decade):.3g}") for k in steps)


def tiny(experiment: Experiment) -> Experiment:
    """The same lines in a short time: less of everything."""
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
        save_every=0.0,
    )
