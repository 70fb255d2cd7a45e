"""The experiments with tasks one after the other, with all their numbers."""

from dataclasses import replace
from math import inf

from benchmarks.experiments.experiment import Experiment, Value, spread
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.continual import Continual
from benchmarks.tasks.text_series import TextSeries

WITHOUT_OLD_DATA = (
    *("plain", "decay to 0", "l2-sp, coupled", "l2-sp, decoupled"),
    *("ewc, coupled", "ewc, decoupled", "sfa", "average from the old", "wise-ft"),
    *("kl on new inputs", "kl on new inputs, ewc"),
)
WITH_ADAM = (
    *("plain adam", "adam, l2-sp, decoupled", "adam, ewc, coupled"),
    *("adam, ewc, decoupled", "adam, ewc from its moment, coupled"),
    "adam, ewc from its moment, decoupled",
)
WITH_OLD_DATA = ("replay of 150", "kl on 150 kept", "replay of 10", "kl on 10 kept")


def rates(lowest: float, span: float = 500) -> tuple[float, ...]:
    """Return 24 rates, the highest `span` times the lowest.

    Methods with a number of their own try 6 values of it at every sixth rate: with 500
    the lowest, and 5, 26 and 129 times that. Pilots on other seeds chose both.
    """
    return spread(lowest, span, 24)


def against(method: str, peers: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pair a method with each of its peers."""
    return tuple((method, peer) for peer in peers if peer != method)


DIGITS = Continual(
    data="digits",
    train=None,
    validation=360,
    test=360,
    split_seed=0,
    hidden=64,
    differ="pixels",
    tasks=2,
    epochs_each=12,
)

CONTINUAL_DIGITS = Experiment(
    name="continual-digits",
    question="Digits, then digits with their pixels permuted, and no old data: what "
    "keeps the old task while the new one is learned? Primary contrasts: EWC decoupled "
    "minus L2-SP decoupled and minus KL on the new inputs, mean accuracy of both tasks "
    "on the test images, trial and epoch chosen on the validation images of other "
    "seeds. The rest is exploratory.",
    cost="up to 44 minutes on 2 CPU cores",
    problem=DIGITS,
    groups=(
        ("SGD, without old data", WITHOUT_OLD_DATA),
        ("Adam, without old data", WITH_ADAM),
        ("SGD, with old data", ("plain", *WITH_OLD_DATA)),
    ),
    contrasts=(
        *against("ewc, decoupled", (*WITHOUT_OLD_DATA, *WITH_OLD_DATA)),
        *against("adam, ewc, decoupled", WITH_ADAM),
    ),
    learning_rates=rates(0.002),
    rate_scales=(
        ("kl on new inputs, ewc", 2.0),
        *((name, 0.2) for name in WITH_ADAM),
    ),
    seeds=40,
    epochs=24,
    evaluate_every=1,
    batch_sizes=(32,),
    settings=Settings(momentum=0.9, weight_decay=0.0, period=10),
    primary=against("ewc, decoupled", ("l2-sp, decoupled", "kl on new inputs")),
    tuning_seeds=10,
    evaluate_from=12,
)
# Ten images are fewer than one a class of each of four old tasks.
CONTINUAL_DIGITS_5 = replace(
    CONTINUAL_DIGITS,
    name="continual-digits-5",
    question="Digits, then four times digits with their pixels permuted anew: what "
    "keeps the four old tasks while the fifth is learned? Primary contrasts as in "
    "continual-digits, mean accuracy of the old tasks and of the new one.",
    cost="up to 34 minutes on 2 CPU cores",
    problem=replace(DIGITS, tasks=5),
    groups=(
        *CONTINUAL_DIGITS.groups[:2],
        ("SGD, with old data", ("plain", *WITH_OLD_DATA[:2])),
    ),
    contrasts=(
        *against("ewc, decoupled", (*WITHOUT_OLD_DATA, *WITH_OLD_DATA[:2])),
        *against("adam, ewc, decoupled", WITH_ADAM),
    ),
    seeds=30,
    epochs=60,
    evaluate_from=48,
)
FORMS = "coupled", "decoupled"
BOTH_WITH_ADAM = tuple(f"adam, ewc, {form}" for form in FORMS)
MOMENT = tuple(f"adam, ewc from its moment, {form}" for form in FORMS)
COUPLED_MINUS_DECOUPLED = tuple(
    (f"{base} coupled", f"{base} decoupled")
    for base in ("ewc,", "adam, ewc,", "adam, ewc from its moment,")
)
CONTINUAL_DIGITS_5_COUPLED = replace(
    CONTINUAL_DIGITS_5,
    name="continual-digits-5-coupled",
    question="In continual-digits-5 coupled EWC chose the weakest strength that was "
    "tried, and EWC from Adam's moment the highest rate. With weaker pulls and higher "
    "rates on other seeds, which form is ahead? Primary contrasts: coupled minus "
    "decoupled EWC, with SGD, with Adam, and with Adam's moment.",
    cost="up to 4 minutes on 2 CPU cores",
    groups=(
        ("SGD", ("plain", *(f"ewc, {form}" for form in FORMS))),
        ("Adam", ("plain adam", *BOTH_WITH_ADAM, *MOMENT)),
    ),
    contrasts=COUPLED_MINUS_DECOUPLED,
    primary=COUPLED_MINUS_DECOUPLED,
    rate_scales=(
        *((name, 0.2) for name in ("plain adam", *BOTH_WITH_ADAM)),
        *((name, 0.8) for name in MOMENT),
    ),
    values=(
        ("ewc, coupled", "strength", (0.08, 0.3, 1.25, 5.0, 20.0, 80.0)),
        *(
            (name, "strength", (0.016, 0.06, 0.25, 1.0, 4.0, 16.0))
            for name in ("adam, ewc, coupled", MOMENT[0])
        ),
    ),
    first_seed=60,
)
CONTINUAL_FASHION = replace(
    CONTINUAL_DIGITS_5,
    name="continual-fashion-mnist",
    question="Fashion-MNIST, two classes after two others, with one head of ten "
    "classes and no task named: what keeps the eight old classes? Primary contrasts "
    "as in continual-digits, mean accuracy of the old tasks and of the new one.",
    cost="up to 9 minutes on 2 CPU cores",
    problem=replace(
        DIGITS,
        data="fashion-mnist",
        train=2000,
        validation=1000,
        test=2000,
        hidden=32,
        differ="classes",
        tasks=5,
        epochs_each=10,
    ),
    learning_rates=rates(0.0003),
    epochs=50,
    evaluate_from=40,
    seeds=20,
    tuning_seeds=5,
)
ADAM_WITHOUT_OLD_DATA = (
    *("plain adam", "adam, decay to 0", "adam, l2-sp, coupled"),
    *("adam, l2-sp, decoupled", "adam, ewc, coupled", "adam, ewc, decoupled"),
    "adam, ewc from its moment, coupled",
    "adam, ewc from its moment, decoupled",
    *("adam, sfa", "adam, average from the old", "adam, wise-ft"),
    *("adam, kl on new inputs", "adam, kl on new inputs, ewc"),
)
ADAM_WITH_OLD_DATA = ("adam, replay of 130", "adam, kl on 130 kept")
COUPLED_ON_TEXT = (0.06, 0.25, 1.0, 4.0, 16.0, 64.0)
CONTINUAL_TEXT = replace(
    CONTINUAL_DIGITS,
    name="continual-text",
    question="A byte-level transformer learns three texts, one after the other: what "
    "keeps the first two while the third is learned? Primary contrasts: EWC decoupled "
    "minus WiSE-FT, minus the average and minus the KL on the new inputs, all with "
    "Adam, mean bits per byte of old and new. 130 windows are 1 % of one old text. "
    "Anchor and Fisher take 0.54 MB, more than one of the texts and less than both.",
    cost="up to 66 minutes on 2 CPU cores",
    problem=TextSeries(
        shape="0.07M",
        context=32,
        windows=200,
        evaluated=128,
        remembered=256,
        tasks=3,
        epochs_each=6,
    ),
    groups=(
        ("Adam, without old data", ADAM_WITHOUT_OLD_DATA),
        ("Adam, with old data", ("plain adam", *ADAM_WITH_OLD_DATA)),
    ),
    contrasts=against(
        "adam, ewc, decoupled", (*ADAM_WITHOUT_OLD_DATA, *ADAM_WITH_OLD_DATA)
    ),
    learning_rates=rates(0.0004, span=40),
    rate_scales=(),
    values=(
        ("adam, ewc, coupled", "strength", COUPLED_ON_TEXT),
        ("adam, ewc from its moment, coupled", "strength", COUPLED_ON_TEXT),
    ),
    seeds=12,
    tuning_seeds=2,
    epochs=18,
    evaluate_from=12,
    batch_sizes=(4,),
    primary=against(
        "adam, ewc, decoupled",
        ("adam, wise-ft", "adam, average from the old", "adam, kl on new inputs"),
    ),
)

ON_CIFAR10 = (
    *("plain", "l2-sp, decoupled", "ewc, coupled", "ewc, decoupled", "sfa"),
    "kl on new inputs",
)
WITH_OLD_IMAGES = "replay of 200"


# Four values at three rates. No pilot chose them. Coupled, a parameter swings out where
# its F is above 1 / (rate * strength); 0.37 was the largest after 155 steps of a task.
ON_CIFAR10_VALUES: tuple[Value, ...] = (
    ("l2-sp, decoupled", "strength", (0.01, 0.03, 0.1, 0.3)),
    ("ewc, coupled", "strength", (1.0, 5.0, 25.0, 125.0)),
    ("ewc, decoupled", "strength", (10.0, 80.0, 640.0, 5120.0)),
    ("sfa", "merge", (0.01, 0.03, 0.1, 0.3)),
    ("kl on new inputs", "weight", (0.1, 0.3, 1.0, 3.0)),
    (WITH_OLD_IMAGES, "weight", (0.3, 1.0, 3.0, 10.0)),
)

# Buzzega et al. 2020, arXiv 2004.07211, show these classes in this order for 50 epochs
# each, to a ResNet-18 of width 64 with BatchNorm, cropped and flipped, in batches of 32
# at rates of SGD without momentum from 0.01 to 0.1. The accuracy after the last task is
# 19.62 % for plain SGD, 19.49 for online EWC and 44.79 for replay of 200 images.
CONTINUAL_CIFAR10 = replace(
    CONTINUAL_FASHION,
    name="continual-cifar10",
    question="CIFAR-10, two classes after two others, with one head of ten classes and "
    "no task named, ResNet-18 with GroupNorm and a quarter of the channels: what keeps "
    "the eight old classes? Primary contrasts: EWC decoupled minus L2-SP decoupled and "
    "minus KL on the new inputs, mean accuracy of the old tasks and of the new one.",
    cost="not run",
    gpu_cost="about 60 minutes on an H100, in 14 programs (estimated)",
    problem=Continual(
        data="cifar10",
        train=None,
        validation=5000,
        test=None,
        split_seed=0,
        hidden=16,
        differ="classes",
        tasks=5,
        epochs_each=5,
        kind="resnet18",
        dtype="bfloat16",
    ),
    groups=(
        ("SGD, without old data", ON_CIFAR10),
        ("SGD, with old data", ("plain", WITH_OLD_IMAGES)),
    ),
    contrasts=against("ewc, decoupled", (*ON_CIFAR10, WITH_OLD_IMAGES)),
    learning_rates=spread(0.01, 20, 12),
    rate_scales=(),
    values=ON_CIFAR10_VALUES,
    seeds=10,
    tuning_seeds=2,
    epochs=25,
    evaluate_from=20,
    settings=Settings(momentum=0.0, weight_decay=0.0, period=10),
    save_every=inf,
)

EXPERIMENTS = (
    *(CONTINUAL_DIGITS, CONTINUAL_DIGITS_5, CONTINUAL_DIGITS_5_COUPLED),
    *(CONTINUAL_FASHION, CONTINUAL_TEXT, CONTINUAL_CIFAR10),
)
