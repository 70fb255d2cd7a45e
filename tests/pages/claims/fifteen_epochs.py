"""The published schedule in 15 epochs at width 64, in three pages."""

from benchmarks.report import statistics
from claims.committed import RESULTS, interval, meta
from claims.pages import Claim
from claims.thirty_epochs import POINT, accuracies, times

NAME = "paper-cifar10-15-epochs"
PARTS = ("seeds-0-1",)
END = (14, 15)
CONTROLS = {"trsgd": "sgd at 0.212 x", "tradam": "adam at 0.293 x"}


def found():
    return accuracies(END, NAME, PARTS)


def percent(method):
    return 100 * found()[method].mean()


def minus(method, control):
    """Mean and half of the 95 % interval, in points."""
    return interval(statistics.estimate(found()[method] - found()[control]), POINT)


def against_controls():
    """Of the two primary contrasts."""
    return tuple(x for pair in CONTROLS.items() for x in minus(*pair))


def against_bases():
    return (*minus("trsgd", "sgd"), *minus("tradam", "adam"))


def seconds():
    """Of a run, in all parts."""
    metas = [meta(f"{RESULTS}/{NAME}/{part}/meta.json") for part in PARTS]
    return (sum(x["seconds"]["run"] for x in metas),)


def speeds():
    timed = times(NAME)
    assert list(timed.convolution) == ["in place", "patches"]
    return (timed.lanes[0], *timed.examples_a_second.round(-2))


CLAIMS = [
    Claim(
        "on one H200, {:.0f} s to run, 2 of 5 seeds so far. Published after "
        "200 epochs: TRSGD +1.9, TRAdam +3.9 points. Points, mean of the last 2 "
        "epochs, +- half of the 95 % interval (n=2): TRSGD - SGD at 0.212 x {:.2f} +- "
        "{:.2f}, TRAdam - Adam at 0.293 x {:.2f} +- {:.2f} (primary, chosen before); "
        "TRSGD - SGD {:+.2f} +- {:.2f}, TRAdam - Adam {:+.2f} +- {:.2f}",
        lambda: (*seconds(), *against_controls(), *against_bases()),
    ),
    Claim(
        "{} replicas of width 64, 6 optimizers, train {:,.0f} examples a second in "
        "place and {:,.0f} with patches.",
        speeds,
    ),
    Claim(
        "TRAdam leads Adam by {:.2f} +- {:.2f} points, and Adam at 0.293 x leads it by "
        "{:.2f} +- {:.2f}. TRSGD leads SGD by {:.2f} +- {:.2f}, SGD at 0.212 x by "
        "{:.2f} +- {:.2f}. The primary contrasts are TRSGD - SGD at 0.212 x, {:.2f} +- "
        "{:.2f}, and TRAdam - Adam at 0.293 x, {:.2f} +- {:.2f}",
        lambda: (
            *minus("tradam", "adam"),
            *minus("adam at 0.293 x", "adam"),
            *minus("trsgd", "sgd"),
            *minus("sgd at 0.212 x", "sgd"),
            *against_controls(),
        ),
    ),
]
COPIED = ()
EXEMPT = {
    "The aim of 45,000 was missed": "an aim",
    "paper-cifar10-15-epochs": "a name",
}
