"""The experiment on staying able to learn."""

from functools import cache

from benchmarks.report import plasticity, statistics, trials
from claims.committed import RESULTS, csv, interval, meta
from claims.pages import Claim

NAME = "plasticity"
OURS = "adam, l2 init, decoupled"
PRIMARY = "adam", "adam, l2 to 0, coupled", "adam, l2 to 0, decoupled"
SHOWN = (
    *("adam", "adam, l2 to 0, coupled", "adam, l2 to 0, decoupled"),
    *("adam, shrink and perturb", "adam, layer norm", "adam, l2 init, coupled", OURS),
)
POINT = 0.01


def facts():
    return meta(f"{RESULTS}/{NAME}/meta.json")


@cache
def tested():
    return trials.tested(csv(f"{RESULTS}/{NAME}/metrics.csv"), facts())


def values(method):
    return trials.values(tested()[method], plasticity.SCORE)


def mean(method):
    return interval(statistics.estimate(values(method)), POINT)


def minus(peer, method=OURS):
    pairs = values(method) - values(peer)
    return interval(statistics.estimate(pairs), POINT)


CLAIMS = [
    Claim(
        "{:.0f} min. Mean online accuracy of 100 tasks in percent, +- half of the "
        "95 % interval (n=20): Adam {:.1f} +- {:.1f}, L2 to zero {:.1f} +- {:.1f}, "
        "AdamW {:.1f} +- {:.1f}, shrink-and-perturb {:.1f} +- {:.1f}, LayerNorm {:.1f} "
        "+- {:.1f}, L2 Init coupled {:.1f} +- {:.1f}, decoupled {:.1f} +- {:.1f}; in "
        "points, paired: L2 Init decoupled - Adam {:+.1f} +- {:.1f}, - L2 to zero "
        "{:+.1f} +- {:.1f}, - AdamW {:+.1f} +- {:.1f} (primary, chosen before)",
        lambda: (
            facts()["seconds"]["run"] / 60,
            *(x for method in SHOWN for x in mean(method)),
            *(x for peer in PRIMARY for x in minus(peer)),
        ),
    ),
    Claim(
        "Coupled L2 Init is ahead of decoupled by {:.1f} +- {:.1f} points.",
        lambda: minus(OURS, method="adam, l2 init, coupled"),
    ),
]
COPIED = ()
EXEMPT: dict[str, str] = {}
