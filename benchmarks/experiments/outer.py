"""The experiment on slow weights, with all its numbers."""

from dataclasses import replace
from math import inf

from benchmarks.experiments.continual import against
from benchmarks.experiments.experiment import Experiment, Value, spread
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.language import Text

ADAMW, MUON = "adamw, decay tuned", "muon, decay tuned"
SLOW = ("lookahead", "snoo", "weight average")
SCHEDULE_FREE = "schedule-free adamw, decay tuned"
WITH_ADAMW = (ADAMW, *(f"adamw, {x}" for x in SLOW), SCHEDULE_FREE)
WITH_MUON = (MUON, *(f"muon, {x}" for x in SLOW[:2]))
WITH_ADAMW_PRIMARY = (
    *against("adamw, snoo", (ADAMW, "adamw, weight average")),
    ("adamw, lookahead", ADAMW),
)
WITH_MUON_PRIMARY = tuple((method, MUON) for method in WITH_MUON[1:])


def rates(lowest: float) -> tuple[float, ...]:
    """Return 12 rates up to 8 times the lowest one.

    A method with 2 values of a number of its own tries each at 6 rates, one with 2 x 2
    values at 3. Pilots on other seeds chose the rates and the values.
    """
    return spread(lowest, 8, 12)


OUTER = Experiment(
    name="outer-language",
    question="A byte-level transformer of 70,000 parameters, 3,000 steps at batch 4, "
    "cosine: do slow weights (Lookahead, SNOO) lower the loss of AdamW, each with "
    "tuned rate and weight decay? Primary contrasts: SNOO minus AdamW and minus an "
    "average of the weights, Lookahead minus AdamW, test bits per byte, the trial "
    "chosen on other seeds. The rest is exploratory.",
    cost="up to 28 minutes on 2 CPU cores",
    problem=Text(shape="0.07M", context=32, windows=12_000, dtype="float32"),
    groups=(("AdamW, with slow weights and with averages", WITH_ADAMW),),
    contrasts=(
        *WITH_ADAMW_PRIMARY,
        ("adamw, weight average", ADAMW),
        (SCHEDULE_FREE, ADAMW),
    ),
    learning_rates=rates(0.002),
    rate_scales=(
        ("adamw, snoo", 0.5),
        *((name, 1.5) for name in ("adamw, lookahead", SCHEDULE_FREE)),
    ),
    seeds=22,
    epochs=1,
    batch_sizes=(4,),
    settings=Settings(momentum=0.0, weight_decay=0.0, period=10, b1=0.9, b2=0.99),
    primary=WITH_ADAMW_PRIMARY,
    part=500,
    first_seed=100,
    tuning_seeds=2,
    cosine=True,
    at_once=1,
)
OUTER_MUON = replace(
    OUTER,
    name="outer-language-muon",
    cost="up to 25 minutes on 2 CPU cores",
    question="The same with Muon. Primary contrasts: SNOO and Lookahead minus Muon.",
    groups=(("Muon, with slow weights", WITH_MUON),),
    contrasts=WITH_MUON_PRIMARY,
    learning_rates=rates(0.005),
    rate_scales=(("muon, lookahead", 1.5),),
    primary=WITH_MUON_PRIMARY,
)


def snoo_behind(base: str, period: float) -> tuple[Value, ...]:
    """Let SNOO try two rates outside, and no period but the one it chose in `OUTER`.

    That was one of the two periods that it tried there, and so at an end of them.
    """
    name = f"{base}, snoo"
    return (name, "outer_rate", (0.7, 1.0)), (name, "period", (period,))


LANGUAGE_1M = Text(shape="0.8M", context=256, windows=20_000, dtype="bfloat16")
LANGUAGE_11M = replace(LANGUAGE_1M, shape="11M", windows=10_000)
OUTER_1M = replace(
    OUTER,
    name="outer-language-0.8M",
    question="outer-language with 0.8 million parameters and 20,000 steps of a window "
    "of 256 bytes, in bfloat16: do slow weights lower AdamW's loss? SNOO tries a rate "
    "of 1 outside too. Primary contrasts as in outer-language.",
    cost="not run",
    gpu_cost="about 20 minutes on an H100, in 10 programs (estimated)",
    problem=LANGUAGE_1M,
    learning_rates=spread(0.0003, 16, 12),
    rate_scales=(("adamw, lookahead", 1.5), (SCHEDULE_FREE, 3.0)),
    values=snoo_behind("adamw", period=100.0),
    batch_sizes=(1,),
    save_every=inf,
)
OUTER_1M_MUON = replace(
    OUTER_MUON,
    name="outer-language-0.8M-muon",
    question="outer-language-0.8M with Muon. Primary contrasts as in "
    "outer-language-muon.",
    cost="not run",
    gpu_cost="about 25 minutes on an H100, in 6 programs (estimated)",
    problem=LANGUAGE_1M,
    learning_rates=spread(0.0015, 16, 12),
    values=snoo_behind("muon", period=30.0),
    batch_sizes=(1,),
    save_every=inf,
)
OUTER_11M = replace(
    OUTER_1M,
    name="outer-language-11M",
    question="outer-language-0.8M with 11 million parameters and 10,000 steps.",
    gpu_cost="about 40 minutes on an H100, in 10 programs (estimated)",
    problem=LANGUAGE_11M,
    learning_rates=spread(0.0001, 16, 12),
    seeds=9,
    tuning_seeds=1,
)
# Muon's own matmuls are five times those of a window's gradient.
OUTER_11M_MUON = replace(
    OUTER_1M_MUON,
    name="outer-language-11M-muon",
    question="outer-language-11M with Muon and 4,000 steps. Primary contrasts as in "
    "outer-language-muon.",
    gpu_cost="about 35 minutes on an H100, in 6 programs (estimated)",
    problem=replace(LANGUAGE_11M, windows=4_000),
    learning_rates=spread(0.001, 16, 12),
    seeds=9,
    tuning_seeds=1,
)
LARGER = (OUTER_1M, OUTER_1M_MUON, OUTER_11M, OUTER_11M_MUON)
"""All methods make 12 trials, as in `OUTER`. No pilot chose their rates."""

EXPERIMENTS = (OUTER, OUTER_MUON, *LARGER)
