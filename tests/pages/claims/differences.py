"""The differences that the pages quote, and the names of what is compared."""

from functools import cache

from benchmarks.report.statistics import is_equal
from claims.committed import (
    better,
    interval,
    run,
)

POINT = 0.01
DIGITS = "sensitivity-digits"
FASHION = "sensitivity-fashion-mnist"
NOISE = "noise-digits"
FASHION_NOISE = "noise-fashion-mnist"
GAUSSIAN, STUDENT = (32, "gaussian 0.3"), (32, "student-t 0.1")
CIFAR = "paper-cifar10-controls-2-epochs"
WIDTH_16 = "paper-cifar10-width-16-1-epochs"
DECOUPLED = "decoupled, no inner decay, strength {}"
SGD_FORMS, ADAM_FORMS = ("trsgd", "trsgdw"), ("tradam", "tradamw")
INNER, ADAM_INNER = "inner decay alone", "adam, inner decay alone"


def points(name, method, control, *where):
    """Mean and half of the interval of a difference."""
    return interval(run(name).minus(method, control, *where), POINT)


def fewer(name, method, control, *where):
    """By how many points a method is significantly behind."""
    found = run(name).minus(method, control, *where)
    assert not is_equal(found)
    return -found.mean / POINT


def more(name, method, control, *where):
    return fewer(name, control, method, *where)


def unequal(name, methods, control, *where):
    return [m for m in methods if not is_equal(run(name).minus(m, control, *where))]


def means(name, *methods, where=()):
    return tuple(x for m in methods for x in interval(run(name).mean(m, *where)))


def high(name, method, *where):
    return run(name).usable(method, *where).high


def lost(name, method, over=0.0):
    """Points of validation accuracy below the best, at rates above a number."""
    curve = run(name).validation(method)
    return (curve.max() - curve[curve.index > over]).to_numpy() / POINT


# Of one form with another; the other contrasts are of a form with a control.
FORMS = [("trsgdw", "trsgd"), ("tradamw", "tradam")]


@cache
def on_digits():
    """Differences between the anchored forms and their controls."""
    plain = run("sensitivity-digits").contrasts(but=FORMS).values()
    return [*plain, *run("noise-digits").contrasts().values()]


def better_strengths():
    found = run("ablation-fashion-mnist").strengths()
    return {name: x for name, x in found.items() if better([x])}


ADAM_STRENGTHS = "ablation-digits-adam"
TUNED_ADAM = "adam, coupled, no inner decay, strength 0"
ADAM_PRIMARY = ("adam, coupled, inner decay", "adam, decoupled, inner decay")


@cache
def chosen_strength(form):
    """Above 0, chosen with the rate by the mean accuracy on validation."""
    found = run(ADAM_STRENGTHS)
    strengths = [f"{x:g}" for x in found.meta["experiment"]["strengths"] if x]
    best = {x: found.validation(f"{form}, strength {x}").max() for x in strengths}
    return max(best, key=lambda x: best[x])


def primary(form):
    """Minus tuned Adam: the contrasts that were committed before the run."""
    name = f"{form}, strength {chosen_strength(form)}"
    return run(ADAM_STRENGTHS).minus(name, TUNED_ADAM)
