"""The experiments and all their numbers."""

from dataclasses import dataclass, replace

from benchmarks.noise import Noise
from benchmarks.optimizers import ABLATIONS, Settings

Group = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Experiment:
    """A grid of runs: batch sizes x noises x optimizers x trials x seeds.

    Attributes:
      name: of the experiment, and of the folder of its results.
      question: what it answers.
      cost: what it takes, and where that was seen.
      gpu_cost: the same on one GPU.
      data: name of the data set, as `benchmarks.data.load` takes it.
      train: images to train on; None takes all that validation leaves.
      groups: (title, names in `benchmarks.optimizers`), a row of panels each. The first
        name is the baseline that the others of the group are compared with.
      contrasts: (method, control), pairs that are compared besides.
      learning_rates: the grid of the SGD family, increasing.
      rate_scales: (optimizer, its learning rates relative to that grid).
      strengths: tried at every learning rate by `benchmarks.optimizers.ABLATIONS`. Each
        is compared as a method of its own, with strength 0, which comes first.
      seeds: number of seeds; each is an initialisation and a data order.
      epochs: passes over the train split.
      evaluate_every: epochs between two evaluations; None evaluates at the end only.
      batch_sizes: images a step.
      noises: added to the gradients, one after the other.
      decays: (fraction of all steps, factor from there on, relative to the start).
      settings: what the optimizers share.
      network: a name in `benchmarks.assemble.NETWORKS`.
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
    gpu_cost: str
    data: str
    train: int | None
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


PUBLISHED = Settings(momentum=0.9, weight_decay=1e-4, period=10)
PUBLISHED_DECAYS = ((0.5, 0.1), (0.75, 0.01))

SGD = (
    *("sgd", "trsgd", "trsgdw", "inner decay alone", "anchor alone"),
    *("sgd at 0.293 x", "sgd at 0.212 x"),
)
ADAM = (
    *("adam", "tradam", "tradamw", "adam, inner decay alone", "adam, anchor alone"),
    *("adam at 0.293 x", "adamw", "adam, b2 rescaled"),
)
PEERS = (
    *("lookahead", "weight average", "schedule-free", "sam", "clipping"),
    *("accumulation", "muon"),
)

THRESHOLDS = (0.5, 2.0)  # of the gradient's norm, for clipping

SGD_CONTRASTS = tuple(
    (method, control)
    for method in ("trsgd", "trsgdw")
    for control in ("sgd", "inner decay alone", "sgd at 0.293 x")
)
ADAM_CONTRASTS = tuple(
    (method, control)
    for method in ("tradam", "tradamw")
    for control in ("adam", "adam, inner decay alone", "adam at 0.293 x")
)
DECOUPLED_CONTRASTS = (("tradamw", "adamw"), ("trsgdw", "trsgd"), ("tradamw", "tradam"))

DEMO = Experiment(
    name="demo",
    question="Does the anchor change the best accuracy, or the usable learning rates?",
    cost="1 to 2 minutes on 2 CPU cores",
    gpu_cost="not measured",
    data="digits",
    train=None,
    groups=(
        (
            "SGD, its anchored forms and controls",
            ("sgd", "trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x"),
        ),
    ),
    contrasts=(),
    learning_rates=log_grid(-3.6, 0, per_decade=5),
    rate_scales=(),
    strengths=(),
    seeds=5,
    epochs=40,
    evaluate_every=None,
    batch_sizes=(8,),
    noises=(Noise(),),
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
        ("SGD, its anchored forms and controls", SGD),
        ("Adam, its anchored forms and controls", ADAM),
        ("SGD and peers", ("sgd", *PEERS)),
    ),
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS, *DECOUPLED_CONTRASTS),
    learning_rates=log_grid(-4, 0.25, per_decade=4),
    rate_scales=(("schedule-free", 10.0), *((name, 0.1) for name in ADAM)),
    epochs=20,
    batch_sizes=(1, 2, 4, 8, 32, 128),
    together=False,
)


def on_fashion_mnist(experiment: Experiment, cost: str) -> Experiment:
    """The same on a subset of Fashion-MNIST: fewer seeds and epochs."""
    return replace(
        experiment,
        name=experiment.name.replace("digits", "fashion-mnist"),
        cost=cost,
        data="fashion-mnist",
        train=2000,
        validation=2000,
        test=None,
        seeds=3,
        epochs=5,
        network="small, both strides 2",
    )


SENSITIVITY_FASHION = replace(
    on_fashion_mnist(SENSITIVITY_DIGITS, "about half an hour on 2 CPU cores"),
    learning_rates=log_grid(-3, 0, per_decade=4),
    batch_sizes=(2, 8, 32),
)

ABLATION_DIGITS = replace(
    SENSITIVITY_DIGITS,
    name="ablation-digits",
    question="Which part does what: the pull's strength, its form, the inner decay, "
    "the period, the anchor's step?",
    cost="about 20 minutes on 2 CPU cores",
    groups=(
        ("Form and inner decay (S = 10)", tuple(ABLATIONS)[:4]),
        ("Period of the coupled form", tuple(ABLATIONS)[4:8]),
        ("Period of the decoupled form", tuple(ABLATIONS)[8:12]),
        ("Anchor step (S = 10)", tuple(ABLATIONS)[12:]),
    ),
    contrasts=(),
    rate_scales=(),
    learning_rates=log_grid(-2.75, 0, per_decade=4),
    strengths=(0.0, 0.1, 0.3, 1.0, 3.0),
    batch_sizes=(8,),
)
ABLATION_FASHION = on_fashion_mnist(
    ABLATION_DIGITS, "about half an hour on 2 CPU cores"
)

NOISE_DIGITS = replace(
    SENSITIVITY_DIGITS,
    name="noise-digits",
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS),
    question="Does the anchor pay where the gradient is noisier than the batch makes "
    "it: Gaussian noise, and a heavy-tailed one of infinite variance?",
    cost="about 25 minutes on 2 CPU cores",
    groups=(
        ("SGD, its anchored forms and controls", SGD),
        ("Adam, its anchored forms and controls", ADAM[:6]),
        ("SGD and peers", ("sgd", "clipping", "lookahead", "weight average")),
    ),
    learning_rates=log_grid(-3.5, 0, per_decade=4),
    batch_sizes=(32,),
    noises=(Noise(), Noise("gaussian", 0.3), Noise("student-t", 0.1)),
)
NOISE_FASHION = replace(
    on_fashion_mnist(NOISE_DIGITS, "about a quarter of an hour on 2 CPU cores"),
    groups=(
        ("SGD, its anchored forms and controls", SGD[:6]),
        ("Adam, TRAdam and its control", ("adam", "tradam", ADAM[3])),
        ("SGD and clipping", ("sgd", "clipping")),
    ),
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS[:2]),
)

PAPER_CIFAR10 = replace(
    DEMO,
    name="paper-cifar10",
    question="The published comparison on CIFAR-10: batch 8, one learning rate each.",
    cost="not run in full: 4 x 5 lanes of 1,125,000 steps of ResNet-18; --tiny takes "
    "3 minutes on 2 CPU cores",
    gpu_cost="not measured (6e17 operations in 4.5 million steps: hours)",
    data="cifar10",
    groups=(
        ("SGD against TRSGD", ("sgd", "trsgd")),
        ("Adam against TRAdam", ("adam", "tradam")),
    ),
    learning_rates=(0.1,),
    rate_scales=(("adam", 0.01), ("tradam", 0.01)),
    epochs=200,
    evaluate_every=1,
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
PAPER_CIFAR10_GROUP_NORM = replace(
    PAPER_CIFAR10,
    name="paper-cifar10-group-norm",
    question="The same without BatchNorm, whose statistics are noisy at batch 8 and "
    "are not anchored.",
    network="resnet18, group norm",
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        DEMO,
        SENSITIVITY_DIGITS,
        SENSITIVITY_FASHION,
        ABLATION_DIGITS,
        ABLATION_FASHION,
        NOISE_DIGITS,
        NOISE_FASHION,
        PAPER_CIFAR10,
        PAPER_CIFAR10_GROUP_NORM,
        PAPER_CIFAR100,
    )
}


def tiny(experiment: Experiment) -> Experiment:
    """The same lines in a short time: less of everything, a narrow residual network."""
    middle = len(experiment.learning_rates) // 2
    smaller = replace(
        experiment,
        name=f"{experiment.name}-tiny",
        learning_rates=experiment.learning_rates[max(middle - 1, 0) : middle + 1],
        strengths=experiment.strengths[:2],
        batch_sizes=experiment.batch_sizes[-2:],
        seeds=2,
        epochs=2,
        save_every=0.0,
    )
    if experiment.data == "digits":
        return smaller
    smaller = replace(smaller, train=200, validation=200, test=200)
    resnet = experiment.network.startswith("resnet")
    return replace(smaller, channels=(8,)) if resnet else smaller
