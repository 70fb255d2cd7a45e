"""The published schedule in 30 epochs at width 16, in benchmarks/README.md."""

from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.report import statistics
from claims.committed import RESULTS, ROOT, csv, interval, meta, seen
from claims.pages import Claim

NAME = "paper-cifar10-width-16-30-epochs"
PARTS = ("seeds-0-2", "seeds-3-3", "seeds-4-5")
TIMES = f"{RESULTS}/gpu-h200/convolutions.csv"
END, BEFORE_THE_FIRST_DECAY = (28, 29, 30), (13, 14, 15)
POINT = 0.01
PRIMARY = (("trsgd", "sgd at 0.212 x"), ("tradam", "adam at 0.293 x"))


@cache
def accuracies(epochs=END, name=NAME, parts=PARTS):
    """On the test images, the mean of some epochs: a series for each optimizer."""
    rows = pd.concat([csv(f"{RESULTS}/{name}/{part}/metrics.csv") for part in parts])
    rows = rows[rows.epoch.isin(epochs)]
    return rows.groupby(["optimizer", "seed"]).test_accuracy.mean()


def percent(method):
    return 100 * accuracies()[method].mean()


def difference(method, control, epochs=END):
    found = accuracies(epochs)
    return statistics.estimate(found[method] - found[control])


def minus(method, control, epochs=END):
    """Mean and half of the 95 % interval, in points."""
    return interval(difference(method, control, epochs), POINT)


def behind(method, control):
    mean, half = minus(method, control)
    return -mean, half


def holm():
    """Return the p values of the two primary contrasts, corrected for their number."""
    found = [difference(*pair) for pair in PRIMARY]
    p = [2 * stats.t.sf(abs(x.mean) / x.error, x.n - 1) for x in found]
    small, large = 2 * min(p), max(p)
    return tuple(max(small, large) if x == max(p) else small for x in p)


def power():
    return tuple(seen([difference(*pair)], unit=POINT) for pair in PRIMARY)


def meta_of(part):
    return meta(f"{RESULTS}/{NAME}/{part}/meta.json")


def times(name=NAME):
    """Return what was timed of an experiment's ways to convolve."""
    found = csv(TIMES)
    return found[found.experiment == name].reset_index(drop=True)


def speeds():
    return tuple(np.round(times().examples_a_second, -2))


def spread_of_speeds():
    """Return the farthest of seven from its median, in percent."""
    found = times()
    low = 1 - found.examples_a_second_low / found.examples_a_second
    high = found.examples_a_second_high / found.examples_a_second - 1
    assert 100 * max(low.max(), high.max()) <= 0.5
    return ()


def seconds():
    """To compile beside another program; of an epoch; of each part's run."""
    three, one, two = (meta_of(part)["seconds"]["run"] for part in PARTS)
    epoch = three / 30
    training = 45_000 * 33 / times().examples_a_second[0]
    return times().compile_seconds[0], epoch - training, epoch, three, two, one


def steps():
    """Milliseconds of a step of 11 and of 33 lanes, and what both have in common.

    The 11 lanes were not timed alone: 63,000 is read off the progress of their run.
    """
    few, many = 88 / 63_000 * 1e3, 264 / times().examples_a_second[0] * 1e3
    fixed = few - (many - few) / 2
    each = (many - few) / 22
    lanes = fixed / (8 / 150_000 * 1e3 - each)
    return few, many, fixed, np.ceil(lanes)


def counted(column, convolution, kept="vectors"):
    found = csv(f"{RESULTS}/traffic/lanes.csv").set_index(["convolution", "kept"])
    return found[column][convolution, kept]


def bytes_and_kernels():
    columns = "megabytes_an_example", "kernels"
    ways = "in place", "patches", "XLA's own"
    rebuilt = "patches, rebuilt"
    third = counted("temporary_megabytes", rebuilt) / counted(
        "temporary_megabytes", "patches"
    )
    assert abs(third - 1 / 3) < 0.01
    return (
        *(counted(column, way) for way in ways for column in columns),
        counted("megabytes_an_example", rebuilt),
        counted("kernels", "patches", "arrays"),
    )


def terabytes():
    """Of a second, at the measured speed."""
    moved = counted("megabytes_an_example", "in place")
    return moved, moved * times().examples_a_second[0] / 1e6


assert (ROOT / RESULTS / NAME / "table.md").is_file()

CLAIMS = [
    Claim(
        "on one H200, {:.0f} s to run, in three parts. Published after 200 "
        "epochs at full width: TRSGD +1.9, TRAdam +3.9 points. Points, mean of the "
        "last 3 epochs, +- half of the 95 % interval (n=6): TRSGD - SGD at 0.212 x "
        "{:.2f} +- {:.2f}, TRAdam - Adam at 0.293 x {:.2f} +- {:.2f} (primary, chosen "
        "before); TRSGD - SGD {:+.2f} +- {:.2f}, TRAdam - Adam {:.2f} +- {:.2f}",
        lambda: (
            sum(meta_of(part)["seconds"]["run"] for part in PARTS),
            *(x for pair in PRIMARY for x in minus(*pair)),
            *minus("trsgd", "sgd"),
            *minus("tradam", "adam"),
        ),
    ),
    Claim(
        "33 replicas of ResNet-18 of width 16, 11 optimizers, batch 8, bfloat16, train "
        "{:,.0f} examples a second with convolutions in place (kernels of our own that "
        "read an image's neighbours where they are), {:,.0f} with patches and {:,.0f} "
        "with XLA's grouped convolutions",
        speeds,
    ),
    Claim("medians of seven, all within 0.5 %", spread_of_speeds),
    Claim(
        "a step takes {:.1f} ms for 88 examples and {:.1f} ms for 264. So about {:.1f} "
        "ms of it does not depend on the number of replicas. The aim of 150,000 was "
        "not reached with 33 replicas; a line through the two would reach it with "
        "{:.0f},",
        steps,
    ),
    Claim(
        "{:.1f} MB an example and {} kernels in place, {:.1f} and {} with patches, "
        "{:.1f} and {} with XLA's convolutions. The aim was 8 MB. Patches that are "
        "made again in the backward pass take a third of the temporary memory and "
        "{:.1f} MB. With patches and each array of a network by itself, not all as one "
        "vector, there were {} kernels.",
        bytes_and_kernels,
    ),
    Claim("At the measured speed {:.1f} MB an example are {:.1f} TB/s", terabytes),
    Claim(
        "**Compiling** took {:.0f} s beside another program, an evaluation of 15,000 "
        "images of 33 replicas about {:.1f} s an epoch of {:.1f} s. Three seeds of 30 "
        "epochs took {:.0f} s, two {:.0f} s, one seed {:.0f} s.",
        seconds,
    ),
    Claim(
        "TRSGD - SGD at 0.212 x is {:.2f} +- {:.2f} points, TRAdam - Adam at 0.293 x "
        "{:.2f} +- {:.2f} (95 %, n=6). Neither differs significantly from zero "
        "(with Holm's correction for the two p = {:.2f}, {:.2f}); with a power of 80 % "
        "differences of {:.2f} and {:.2f} points would have been seen.",
        lambda: (
            *(x for pair in PRIMARY for x in minus(*pair)),
            *holm(),
            *power(),
        ),
    ),
    Claim(
        "TRSGD is ahead of SGD by {:.2f} +- {:.2f}, and so are SGD at 0.212 x ({:.2f} "
        "+- {:.2f}) and inner decay alone ({:.2f} +- {:.2f}). TRAdamW is behind Adam "
        "by {:.2f} +- {:.2f}, TRAdam by {:.2f} +- {:.2f}, which is not significant; "
        "TRSGDW is behind inner decay alone by {:.2f} +- {:.2f}. Before the first "
        "decay, in epochs 13 to 15, TRSGD leads SGD by {:.1f} +- {:.1f} points, and "
        "SGD at 0.212 x by {:.1f} +- {:.1f};",
        lambda: (
            *minus("trsgd", "sgd"),
            *minus("sgd at 0.212 x", "sgd"),
            *minus("inner decay alone", "sgd"),
            *behind("tradamw", "adam"),
            *behind("tradam", "adam"),
            *behind("trsgdw", "inner decay alone"),
            *minus("trsgd", "sgd", BEFORE_THE_FIRST_DECAY),
            *minus("sgd at 0.212 x", "sgd", BEFORE_THE_FIRST_DECAY),
        ),
    ),
    Claim(
        "was {:.4f}, that of patches {:.4f}.",
        lambda: tuple(times().error[:2]),
    ),
]
COPIED = ()
EXEMPT = {
    "about 63,000": "read off the progress of a run",
    "15 % of the published epochs": "30 of 200",
    "in three times 15 minutes of its time": "what was lent",
    "in another 15 minutes": "what was lent",
    "jax 0.11.2, ": "a version",
    "which jax 0.11.2 calls": "a version",
    "H200": "the device's name",
    "paper-cifar10-width-16-30-epochs": "a name",
    "paper-cifar10-width-16-200-epochs": "a name",
    "of the 4.8 on the H200's data sheet": "NVIDIA H200's data sheet",
    "11 methods": "a setting",
    "6 methods": "a setting",
}
