"""The experiments for one GPU: the published comparison, scaled, and language."""

from dataclasses import replace

from benchmarks.experiments import classify, language
from benchmarks.experiments.experiment import Experiment, log_grid
from benchmarks.experiments.speed import with_plain_convolutions
from benchmarks.tasks.language import Text

PAPER = replace(
    classify.PAPER_CIFAR10,
    name="paper-cifar10-controls",
    question="The published comparison on CIFAR-10 in fewer than its 200 epochs, with "
    "the decoupled forms and the controls.",
    cost="not run",
    gpu_cost="about 50 minutes on an H100: 3.0 s a run and epoch of 2",
    groups=(
        ("SGD against TRSGD", ("sgd", "trsgd")),
        ("Adam against TRAdam", ("adam", "tradam")),
        ("SGD and the decoupled pull", ("sgd", "trsgdw")),
        ("Adam and the decoupled pull", ("adam", "tradamw")),
        (
            "SGD and controls",
            ("sgd", "sgd at 0.293 x", "sgd at 0.212 x", "inner decay alone"),
        ),
        ("Adam and controls", ("adam", "adam at 0.293 x", "adam, inner decay alone")),
    ),
    contrasts=(
        *classify.SGD_CONTRASTS,
        *((method, "sgd at 0.212 x") for method in ("trsgd", "trsgdw")),
        *classify.ADAM_CONTRASTS,
    ),
    rate_scales=tuple((name, 0.01) for name in classify.ADAM),
    seeds=3,
    epochs=30,
    part=125,
    save_every=300.0,
)
WIDTH_16 = replace(
    PAPER,
    name="paper-cifar10-width-16",
    gpu_cost="about 75 minutes on an H100: 0.9 s a run and epoch of 1",
    question="The published comparison and its controls over learning rates, with a "
    "quarter of the channels.",
    problem=replace(classify.CIFAR10, channels=(16,)),
    learning_rates=log_grid(-2.5, -0.5, per_decade=2),
    evaluate_every=None,
)
LANGUAGE_11M = replace(
    language.LANGUAGE_GPU,
    name="language-11M-batch-1",
    question="A byte-level transformer of 11 million parameters at batch 1, 10 million "
    "tokens a run.",
    batch_sizes=(1,),
    epochs=2,
    part=500,
    save_every=60.0,
)
LARGE = ("adam", "adam, b2 rescaled", "tradam", "tradamw", "adam, inner decay alone")
LANGUAGE_124M = replace(
    language.LANGUAGE_GPU_124M,
    name="language-124M-batch-1",
    question="A byte-level transformer of 124 million parameters at batch 1: Adam, its "
    "anchored forms and their control.",
    problem=Text(shape="124M", context=1024, windows=1_000, dtype="bfloat16"),
    groups=(("Adam, its anchored forms and control", LARGE),),
    contrasts=tuple(x for x in language.LANGUAGE.contrasts if {*x} <= {*LARGE}),
    learning_rates=(0.03, 0.1),
    seeds=2,
    batch_sizes=(1,),
    epochs=10,
    part=25,
    save_every=300.0,
)

PLANNED = (PAPER, WIDTH_16, LANGUAGE_11M, LANGUAGE_124M)

POOLED_30 = replace(
    WIDTH_16,
    name="paper-cifar10-width-16-30-epochs",
    question="The published rates and schedule in 30 epochs, with a quarter of the "
    "channels, the decoupled forms and the controls: does the anchor do more than a "
    "smaller rate?",
    gpu_cost="a few minutes a seed on an H100",
    groups=(
        (
            "SGD, its anchored forms and controls",
            tuple(x for x in classify.SGD if x != "anchor alone"),
        ),
        (
            "Adam, its anchored forms and controls",
            tuple(x for x in classify.ADAM[:6] if x != "adam, anchor alone"),
        ),
    ),
    primary=(("trsgd", "sgd at 0.212 x"), ("tradam", "adam at 0.293 x")),
    learning_rates=(0.1,),
    evaluate_every=1,
    seeds=6,
)
FEW = (
    ("SGD, TRSGD and the control", ("sgd", "trsgd", "sgd at 0.212 x")),
    ("Adam, TRAdam and the control", ("adam", "tradam", "adam at 0.293 x")),
)
POOLED_200 = replace(
    POOLED_30,
    name="paper-cifar10-width-16-200-epochs",
    question="The published rates, schedule and 200 epochs, with a quarter of the "
    "channels, beside the controls: does the anchor do more than a smaller rate?",
    gpu_cost="not run",
    groups=FEW,
    contrasts=tuple((names[1], control) for _, names in FEW for control in names[::2]),
    epochs=200,
    seeds=3,
)
POOLED_FULL_WIDTH = replace(
    POOLED_200,
    name="paper-cifar10-15-epochs",
    question="The published rates, schedule and width in 15 of the 200 epochs, beside "
    "the controls: does the anchor do more than a smaller rate?",
    gpu_cost="about 4 minutes a seed on an H200",
    problem=classify.CIFAR10,
    epochs=15,
    seeds=5,
)
POOLED = (POOLED_30, POOLED_200, POOLED_FULL_WIDTH)
"""Experiments that are trained a few seeds at a time, in this order."""
EXPERIMENTS = (*PLANNED, *POOLED)
TIMED = ((POOLED_30, 3), (POOLED_FULL_WIDTH, 2))
"""What ways to convolve are timed on: for each network an experiment and its seeds."""

LANES = (
    (PAPER, (1, 8, 32, 128)),
    (WIDTH_16, (1, 8, 32, 128)),
    (LANGUAGE_11M, (1, 8, 32)),
    (LANGUAGE_124M, (1, 4)),
)
"""Experiments whose throughput is timed, and how many runs train together in each."""


def plain(experiment: Experiment) -> Experiment:
    """Return an experiment with XLA's own convolutions, under another name."""
    found = with_plain_convolutions(experiment)
    return replace(found, name=f"{experiment.name}, plain convolutions")


PLAIN = ((plain(PAPER), (8, 32)), (plain(WIDTH_16), (32,)))
