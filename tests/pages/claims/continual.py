"""The continual experiments, in three pages."""

from functools import cache

import numpy as np

from benchmarks.report import fronts, statistics
from claims.committed import RESULTS, csv, interval, meta
from claims.pages import Claim

NAME = "continual-digits"
EWC, ADAM_EWC = "ewc, decoupled", "adam, ewc, decoupled"
POINT = 0.01
WEIGHT = 0.5  # of the new task


@cache
def study():
    return fronts.study(csv(f"{RESULTS}/{NAME}/metrics.csv"), facts())


def facts():
    return meta(f"{RESULTS}/{NAME}/meta.json")


@cache
def accuracies(method):
    """Of both tasks in the mean, by test seed, at what validation chose."""
    chosen = fronts.best_mean(study(), method, WEIGHT)
    own = fronts.tested(study(), method, chosen)
    return np.asarray((own.old_score + own.new_score) / 2)


def percent(method):
    found = statistics.estimate(accuracies(method))
    return interval(found, POINT)


def minus(method, peer):
    """Mean and half of the 95 % interval, in points, paired by seed."""
    return interval(statistics.estimate(accuracies(method) - accuracies(peer)), POINT)


def group(title):
    return dict(facts()["experiment"]["groups"])[title]


def best_peer():
    """Name the tuned peer without old data, and without Fisher, that is best."""
    peers = [x for x in group("SGD, without old data") if "ewc" not in x]
    return max(peers, key=lambda name: accuracies(name).mean())


def row():
    shown = EWC, "l2-sp, decoupled", "kl on new inputs", "plain", "replay of 150"
    return (
        facts()["seconds"]["run"] / 60,
        *(x for name in shown for x in percent(name)),
        *minus(EWC, "l2-sp, decoupled"),
        *minus(EWC, "kl on new inputs"),
        *minus(EWC, "replay of 150"),
        *minus("kl on new inputs, ewc", "kl on new inputs"),
    )


CLAIMS = [
    Claim(
        "2 CPU cores that had other work, {:.0f} min | - | mean test accuracy of both "
        "tasks in percent, +- half of the 95 % interval (n=30): EWC decoupled {:.2f} "
        "+- {:.2f}, L2-SP decoupled {:.2f} +- {:.2f}, KL on the new inputs {:.2f} +- "
        "{:.2f}, plain {:.2f} +- {:.2f}, replay of 150 images {:.2f} +- {:.2f}; in "
        "points, paired: EWC - L2-SP {:+.2f} +- {:.2f}, EWC - KL {:+.2f} +- {:.2f} "
        "(primary, chosen before), EWC - replay {:+.2f} +- {:.2f}, KL and EWC together "
        "- KL {:+.2f} +- {:.2f}",
        row,
    ),
]
COPIED = ()
EXEMPT = {"and their peers, 24 trials each": "a setting"}
