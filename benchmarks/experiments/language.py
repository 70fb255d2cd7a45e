"""The experiments in language modelling, with all their numbers."""

from dataclasses import replace

from benchmarks.experiments.experiment import Experiment
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.language import Text

ADAM = (
    *("adam", "adam, b2 rescaled", "tradam", "tradamw"),
    *("adam, inner decay alone", "schedule-free adam", "muon beside adam"),
    "adam, accumulated to 16",
)
FURTHER = {*ADAM} - {"adam", "adam, b2 rescaled", "adam, accumulated to 16"}

LANGUAGE = Experiment(
    name="language",
    question="A byte-level transformer at batch 1, 4 and 16 and equal tokens: do plain "
    "SGD and Adam with a rescaled b2 work at batch 1, and does the anchor help?",
    cost="up to 55 minutes on 2 CPU cores",
    problem=Text(shape="0.8M", context=64, windows=1024, dtype="float32"),
    groups=(
        ("Adam, its anchored forms and peers", ADAM),
        ("SGD without momentum", ("sgd", "trsgd")),
    ),
    contrasts=(
        ("sgd", "adam, b2 rescaled"),
        ("tradam", "adam, b2 rescaled"),
        ("tradamw", "adam, b2 rescaled"),
        ("tradam", "adam, inner decay alone"),
        ("tradamw", "adam, inner decay alone"),
    ),
    # Half decades around the best rates of runs with half the tokens, at batch 1 and
    # 16. Those with an inner decay or an average, and Muon, reach three times as far.
    learning_rates=(0.03, 0.1, 0.3, 1.0),
    rate_scales=(
        *((name, 1 / 30 if name in FURTHER else 1 / 100) for name in ADAM),
        ("trsgd", 10 / 3),
    ),
    seeds=3,
    epochs=1,
    batch_sizes=(1, 4, 16),
    # The rate is constant without warm-up, then decays; that of Schedule-Free does not.
    decays=((0.7, 0.3), (0.85, 0.1), (0.95, 0.03)),
    # b2 = 0.95 is usual at 512 sequences: there arXiv 2507.07101 holds the half-life.
    settings=Settings(
        momentum=0.0, weight_decay=0.0, period=10, b1=0.9, b2=0.95, b2_batch=512
    ),
)

LANGUAGE_GPU = replace(
    LANGUAGE,
    name="language-11M",
    question="The byte-level transformer with 11 million parameters, a context of 256 "
    "and 50 million tokens a run.",
    cost="not run",
    problem=Text(shape="11M", context=256, windows=20_000, dtype="bfloat16"),
    epochs=10,
    evaluate_every=1,
)
LANGUAGE_GPU_124M = replace(
    LANGUAGE_GPU,
    name="language-124M",
    question="The byte-level transformer with 124 million parameters, a context of "
    "1024 and 2.5 billion tokens a run, as many as arXiv 2507.07101 takes for GPT-2.",
    problem=Text(shape="124M", context=1024, windows=240_000, dtype="bfloat16"),
)

EXPERIMENTS = (LANGUAGE, LANGUAGE_GPU, LANGUAGE_GPU_124M)
