"""The experiment on staying able to learn, with all its numbers."""

from benchmarks.experiments.continual import against
from benchmarks.experiments.experiment import Experiment, spread
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.plasticity import RandomLabels

DECOUPLED = "adam, l2 init, decoupled"
TO_ZERO = ("adam, l2 to 0, coupled", "adam, l2 to 0, decoupled")
METHODS = (
    *("adam", *TO_ZERO, "adam, l2 init, coupled", DECOUPLED),
    *("adam, shrink and perturb", "adam, layer norm"),
)
TASKS = 100


def rates(lowest: float) -> tuple[float, ...]:
    """Return 36 rates up to 60 times the lowest one.

    A method with a number of its own tries 4 values of it at 9 rates, one with two
    numbers 3 x 3 values at 4 rates. Pilots on other seeds chose the lowest rate, the
    factors of single methods and the values.
    """
    return spread(lowest, 60, 36)


PLASTICITY = Experiment(
    name="plasticity",
    question="100 times new random labels on the same 100 images of Fashion-MNIST, and "
    "nobody resets Adam: does a pull to the initial weights (L2 Init) keep the network "
    "able to learn? Primary contrasts: L2 Init decoupled minus Adam, minus L2 to zero "
    "and minus AdamW, mean online accuracy of all tasks, the trial chosen by it on "
    "other seeds. The rest is exploratory.",
    cost="up to 42 minutes on 2 CPU cores",
    problem=RandomLabels(
        data="fashion-mnist",
        train=2000,
        validation=100,
        test=100,
        split_seed=0,
        images=100,
        pooled=2,
        hidden=(32, 32),
        tasks=TASKS,
        passes=40,
    ),
    groups=(("New random labels in each task", METHODS),),
    contrasts=against(DECOUPLED, METHODS),
    learning_rates=rates(0.0004),
    rate_scales=(
        ("adam", 0.1),
        ("adam, shrink and perturb", 2.0),
        ("adam, layer norm", 0.25),
    ),
    seeds=23,
    epochs=TASKS,
    batch_sizes=(20,),
    settings=Settings(momentum=0.9, weight_decay=0.0, period=10),
    primary=against(DECOUPLED, ("adam", *TO_ZERO)),
    tuning_seeds=3,
)

EXPERIMENTS = (PLASTICITY,)
