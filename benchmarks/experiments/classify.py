"""The experiments in image classification, with all their numbers."""

from dataclasses import replace

from benchmarks.experiments.experiment import Experiment, log_grid
from benchmarks.optimizers import ablations
from benchmarks.optimizers.method import Settings
from benchmarks.report import statistics
from benchmarks.tasks.classify import Images
from benchmarks.training.noise import Noise

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

DIGITS = Images(
    data="digits",
    train=None,
    validation=360,
    test=360,
    split_seed=0,
    network="small",
    channels=(8, 16),
    dtype="float32",
    augment=False,
)
CIFAR10 = Images(
    data="cifar10",
    train=None,
    validation=5000,
    test=None,
    split_seed=0,
    network="resnet18",
    channels=(64,),
    dtype="bfloat16",
    augment=True,
)

SENSITIVITY_DIGITS = Experiment(
    name="sensitivity-digits",
    question="How does accuracy depend on the learning rate, at every batch size, for "
    "the method, its controls and its peers, each tuned alike?",
    cost="up to 29 minutes on 2 CPU cores",
    problem=DIGITS,
    groups=(
        ("SGD, its anchored forms and controls", SGD),
        ("Adam, its anchored forms and controls", ADAM),
        ("SGD and peers", ("sgd", *PEERS)),
    ),
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS, *DECOUPLED_CONTRASTS),
    learning_rates=log_grid(-4, 0.25, per_decade=4),
    rate_scales=(("schedule-free", 10.0), *((name, 0.1) for name in ADAM)),
    seeds=5,
    epochs=20,
    batch_sizes=(1, 2, 4, 8, 32, 128),
    decays=PUBLISHED_DECAYS,
    settings=PUBLISHED,
)

# In one program, which compiles in a fifth of the time of five; with seeds of its own.
DEMO = replace(
    SENSITIVITY_DIGITS,
    name="demo",
    question="Does the anchor change the best accuracy, or the usable learning rates?",
    cost="0.7 to 2.9 minutes on 2 CPU cores",
    groups=(
        (
            "SGD, its anchored forms and controls",
            ("sgd", "trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x"),
        ),
    ),
    contrasts=(),
    learning_rates=log_grid(-3, -0.25, per_decade=4),
    rate_scales=(),
    batch_sizes=(8,),
    together=True,
    first_seed=5,
)


def on_fashion_mnist(experiment: Experiment, cost: str) -> Experiment:
    """Return an experiment on a part of Fashion-MNIST, with fewer seeds and epochs."""
    return replace(
        experiment,
        name=experiment.name.replace("digits", "fashion-mnist"),
        cost=cost,
        problem=replace(
            DIGITS,
            data="fashion-mnist",
            train=2000,
            validation=2000,
            test=None,
            network="small, both strides 2",
        ),
        seeds=3,
        epochs=5,
    )


SENSITIVITY_FASHION = replace(
    on_fashion_mnist(SENSITIVITY_DIGITS, "up to 26 minutes on 2 CPU cores"),
    learning_rates=log_grid(-3, 0, per_decade=4),
    batch_sizes=(2, 8, 32),
)

ABLATION_DIGITS = replace(
    SENSITIVITY_DIGITS,
    name="ablation-digits",
    question="Which part does what: the pull's strength, its form, the inner decay, "
    "the period, the anchor's step?",
    cost="up to 18 minutes on 2 CPU cores",
    groups=(
        ("Form and inner decay (S = 10)", tuple(ablations.FORM_AND_INNER_DECAY)),
        ("Period of the coupled form", tuple(ablations.COUPLED_PERIODS)),
        ("Period of the decoupled form", tuple(ablations.DECOUPLED_PERIODS)),
        ("Anchor step (S = 10)", tuple(ablations.ANCHOR_STEPS)),
    ),
    contrasts=(),
    rate_scales=(),
    learning_rates=log_grid(-2.75, 0, per_decade=4),
    strengths=(0.0, 0.1, 0.3, 1.0, 3.0),
    batch_sizes=(8,),
)
ABLATION_FASHION = on_fashion_mnist(ABLATION_DIGITS, "up to 31 minutes on 2 CPU cores")
# The strengths reach further than those of SGD: Adam's best rates here are lower, and a
# pull caps the step at S steps of the rate 1 / (2 strength S).
ADAM_STRENGTHS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
ABLATION_DIGITS_ADAM = replace(
    ABLATION_DIGITS,
    name="ablation-digits-adam",
    question="Does a strength other than the default make TRAdam or TRAdamW better "
    "than Adam? Primary contrasts: each of the two, its strength above 0 and its rate "
    "chosen together on validation, minus tuned Adam (coupled, no inner decay, "
    "strength 0), test accuracy. The rest is exploratory.",
    cost="up to 23 minutes on 2 CPU cores",
    groups=(("Adam: form and inner decay (S = 10)", tuple(ablations.OF_ADAM)),),
    contrasts=tuple(
        (
            statistics.label(f"adam, {form}, inner decay", strength),
            statistics.label("adam, coupled, no inner decay", 0.0),
        )
        for form in ablations.FORMS
        for strength in ADAM_STRENGTHS[1:]
    ),
    learning_rates=log_grid(-3.5, 0.5, per_decade=4),
    strengths=ADAM_STRENGTHS,
)

NOISE_DIGITS = replace(
    SENSITIVITY_DIGITS,
    name="noise-digits",
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS),
    question="Does the anchor pay where the gradient is noisier than the batch makes "
    "it: Gaussian noise, and a heavy-tailed one of infinite variance?",
    cost="up to 21 minutes on 2 CPU cores",
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
    on_fashion_mnist(NOISE_DIGITS, "up to 19 minutes on 2 CPU cores"),
    groups=(
        ("SGD, its anchored forms and controls", SGD[:6]),
        ("Adam, TRAdam and its control", ("adam", "tradam", ADAM[3])),
        ("SGD and clipping", ("sgd", "clipping")),
    ),
    contrasts=(*SGD_CONTRASTS, *ADAM_CONTRASTS[:2]),
)

PAPER_CIFAR10 = replace(
    SENSITIVITY_DIGITS,
    name="paper-cifar10",
    question="The published comparison on CIFAR-10: batch 8, one learning rate each.",
    cost="not run in full: 4 x 5 runs of 1,125,000 steps of ResNet-18; --tiny takes "
    "up to a minute on 2 CPU cores",
    gpu_cost="not run; about 3.3 hours on an H100 at the 3.0 s a run and epoch of "
    "paper-cifar10-controls",
    problem=CIFAR10,
    groups=(
        ("SGD against TRSGD", ("sgd", "trsgd")),
        ("Adam against TRAdam", ("adam", "tradam")),
    ),
    contrasts=(),
    learning_rates=(0.1,),
    rate_scales=(("adam", 0.01), ("tradam", 0.01)),
    batch_sizes=(8,),
    epochs=200,
    evaluate_every=1,
    together=True,
)
PAPER_CIFAR100 = replace(
    PAPER_CIFAR10,
    name="paper-cifar100",
    question="The published comparison on CIFAR-100: batch 8, one learning rate each.",
    problem=replace(CIFAR10, data="cifar100"),
)
PAPER_CIFAR10_GROUP_NORM = replace(
    PAPER_CIFAR10,
    name="paper-cifar10-group-norm",
    question="The published comparison on CIFAR-10 without BatchNorm, whose statistics "
    "are noisy at batch 8 and are not anchored.",
    problem=replace(CIFAR10, network="resnet18, group norm"),
)

EXPERIMENTS = (
    DEMO,
    SENSITIVITY_DIGITS,
    SENSITIVITY_FASHION,
    ABLATION_DIGITS,
    ABLATION_FASHION,
    ABLATION_DIGITS_ADAM,
    NOISE_DIGITS,
    NOISE_FASHION,
    PAPER_CIFAR10,
    PAPER_CIFAR10_GROUP_NORM,
    PAPER_CIFAR100,
)
