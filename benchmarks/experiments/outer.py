"""The experiment on slow weights, with all its numbers."""

from dataclasses import replace

from benchmarks.experiments.continual import against
from benchmarks.experiments.experiment import Experiment, spread
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

EXPERIMENTS = (OUTER, OUTER_MUON)
