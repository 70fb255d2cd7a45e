"""benchmarks/README.md: "What they show"."""

import numpy as np

from benchmarks.report.statistics import Condition, is_equal
from claims.committed import (
    RESULTS,
    after_holm,
    better,
    cells,
    interval,
    numbers,
    run,
    worse,
)
from claims.differences import (
    ADAM_FORMS,
    ADAM_INNER,
    ADAM_PRIMARY,
    ADAM_STRENGTHS,
    DECOUPLED,
    DIGITS,
    FASHION,
    FASHION_NOISE,
    GAUSSIAN,
    INNER,
    NOISE,
    POINT,
    SGD_FORMS,
    STUDENT,
    TUNED_ADAM,
    better_strengths,
    chosen_strength,
    high,
    lost,
    on_digits,
    points,
    primary,
)
from claims.pages import WORDS, Claim


def tuned():
    found = on_digits()
    assert after_holm(found) == 0
    return (
        len(found),
        WORDS[better(found)],
        *points(DIGITS, "tradamw", ADAM_INNER, 4),
        WORDS[worse(found)].capitalize(),
        WORDS[round(0.05 * len(found))],
        len(found),
    )


def small_gains():
    gains = better_strengths()
    assert list(gains) == [
        "coupled, no inner decay, strength 0.1",
        "decoupled, S = 5, strength 0.3",
    ]
    return (
        *points(DIGITS, "adam, anchor alone", "adam", 2),
        *points(FASHION, "trsgdw", "trsgd", 8),
        WORDS[len(gains)],
        len(run("ablation-fashion-mnist").strengths()),
        *(x for gain in gains.values() for x in interval(gain, POINT)),
        *interval(run("language").minus("tradamw", ADAM_INNER, 1)),
    )


def decades(name, condition, method):
    """Return the usable width as printed, with its half; None if the grid cuts it."""
    table = f"{RESULTS}/{name}/table.md"
    printed = cells(table, method, after=f"{str(condition).capitalize()}:")[6]
    return None if printed.startswith(">=") else numbers(printed)


def conditions(name):
    """Without those of noise-fashion-mnist that are sensitivity-fashion-mnist's."""
    known = run(FASHION).conditions if name == FASHION_NOISE else ()
    return [x for x in run(name).conditions if x not in known]


def wider():
    """Widths of forms and controls that differ from their base's.

    Half of the difference's interval is the root of the sum of both halves' squares.
    """
    found = {
        (name, condition, method): [decades(name, condition, x) for x in (method, base)]
        for name in (DIGITS, FASHION, NOISE, FASHION_NOISE)
        for condition in conditions(name)
        for method in {*RESTRAINED} & {*run(name).meta["baselines"]}
        for base in ["adam" if "adam" in method else "sgd"]
    }
    return {
        key: (ours[0], theirs[0])
        for key, (ours, theirs) in found.items()
        if ours and theirs
        if abs(ours[0] - theirs[0]) > np.hypot(ours[1], theirs[1])
    }


RESTRAINED = (
    *(*SGD_FORMS, INNER, "anchor alone", "sgd at 0.293 x", "sgd at 0.212 x"),
    *(*ADAM_FORMS, ADAM_INNER, "adam, anchor alone", "adam at 0.293 x"),
)


def widths():
    """How far SGD and its forms reach."""
    reaches = [
        high(DIGITS, "anchor alone", batch) / high(DIGITS, "sgd", batch)
        for batch in (4, 8, 32, 128)
    ]
    differ = wider()
    key = (NOISE, Condition(32, "no noise"), "anchor alone")
    assert [*differ] == [key]
    return (
        *(
            high(DIGITS, method, batch)
            for method in ("trsgd", INNER, "sgd at 0.212 x")
            for batch in (4, 8)
        ),
        *(high(DIGITS, method, 32) for method in ("sgd at 0.293 x", "trsgd")),
        min(reaches),
        max(reaches),
        WORDS[len(differ)],
        *differ[key],
    )


def adam_cap():
    """Return the largest rate that was tried, and where Adam fails."""
    found = run(ADAM_STRENGTHS)
    form = "adam, decoupled, {}, strength {}"
    for part in ("inner decay", "no inner decay"):
        for strength in (3, 10):
            assert found.usable(form.format(part, strength)).open_high
    last = found.rows(TUNED_ADAM).learning_rate.max()
    return last, found.fails(TUNED_ADAM)


def cap():
    name, fashion = "ablation-digits", "ablation-fashion-mnist"
    inner = "decoupled, inner decay, strength {}"
    for form in (inner.format(3), DECOUPLED.format(3), inner.format(1)):
        assert run(name).usable(form).open_high
        assert run(name).usable(form).high == 1
    for form in (inner.format(3), DECOUPLED.format(3)):
        assert lost(fashion, form, over=0.005).max() < 2
    edge = high(name, DECOUPLED.format(1))
    above = lost(name, DECOUPLED.format(1), over=edge)
    plain = run(DIGITS).usable("sgd", 8)
    assert not plain.open_low
    assert not plain.open_high
    cut = [run(name).usable(DECOUPLED.format(x)) for x in (1, 3)]
    assert all(width.open_low or width.open_high for width in cut)
    return (
        run(name).fails(DECOUPLED.format(0)),
        edge,
        above.min(),
        above.max(),
        *(width.decades for width in cut),
        plain.decades,
        1 / (2 * 3 * 10),
        run(name).best(DECOUPLED.format(0)),
        run(fashion).fails(DECOUPLED.format(0)),
        *adam_cap(),
        run(name).fails("coupled, inner decay, strength 3"),
        run(name).fails("coupled, no inner decay, strength 3"),
    )


def anchors_alone():
    """Return the anchor without inner decay, minus its base."""
    return [
        run(name).minus(method, base, *where)
        for name in (DIGITS, FASHION, NOISE, FASHION_NOISE)
        for method, base in (("anchor alone", "sgd"), ("adam, anchor alone", "adam"))
        for where in conditions(name)
        if method in run(name).meta["baselines"]
    ]


def beside_inner_decay():
    """Return the pull with inner decay, minus inner decay alone."""
    return [
        each
        for name in (DIGITS, FASHION, NOISE, FASHION_NOISE)
        for (_, control, where), each in run(name).contrasts().items()
        if control in (INNER, ADAM_INNER) and where in conditions(name)
    ]


def inner_decay():
    alone, beside = anchors_alone(), beside_inner_decay()
    assert worse(alone) == 0
    assert better(alone) == 1
    assert is_equal(run(DIGITS).minus(INNER, "sgd", 128))
    assert is_equal(run(FASHION).minus(INNER, "sgd", 32))
    return (
        *points(DIGITS, "trsgd", "sgd", 128),
        *points(DIGITS, "trsgdw", "sgd", 128),
        *points(DIGITS, "tradam", "adam", 128),
        *points(FASHION, "trsgdw", "sgd", 32),
        *points(FASHION, "tradam", "adam", 32),
        *points(FASHION_NOISE, "tradam", "adam", *GAUSSIAN),
        *points(FASHION_NOISE, "tradam", "adam", *STUDENT),
        *points(FASHION_NOISE, ADAM_INNER, "adam", *GAUSSIAN),
        *points(FASHION_NOISE, ADAM_INNER, "adam", *STUDENT),
        *points(DIGITS, ADAM_INNER, "adam", 4),
        *points(DIGITS, INNER, "sgd", 128),
        *points(FASHION, INNER, "sgd", 32),
        WORDS[better(beside) + worse(beside)],
        len(beside),
        WORDS[worse(beside)],
        len(alone) - better(alone),
        len(alone),
        WORDS[better(alone)],
    )


def coupled_strength_3():
    found = run("ablation-digits").strengths()
    forms = [
        *("coupled, inner decay", "coupled, S = 20", "coupled, S = 50"),
        *("coupled, anchor step 0.5", "coupled, anchor step 0.1"),
    ]
    losses = [found[f"{form}, strength 3"] for form in forms]
    assert worse(losses) == len(losses)
    assert all(is_equal(found[f"coupled, S = {n}, strength 3"]) for n in (2, 5))
    return tuple(-x.mean / POINT for x in losses)


CLAIMS = [
    Claim(
        "chosen on validation with the rate ({} and {}) it leaves them {:+.1f} +- "
        "{:.1f} and {:+.1f} +- {:.1f} points from tuned Adam",
        lambda: (
            *(chosen_strength(form) for form in ADAM_PRIMARY),
            *(x for form in ADAM_PRIMARY for x in interval(primary(form), POINT)),
        ),
    ),
    Claim(
        "Of the {} differences between a method and its controls on digits {} is "
        "positive beyond its interval: TRAdamW against Adam with inner decay alone at "
        "batch 4, {:+.1f} +- {:.1f} points. {} are negative. Chance alone would give "
        "some {}. Holm's correction for {} leaves none.",
        tuned,
    ),
    Claim(
        "Adam with the anchor alone against Adam on digits at batch 2, {:+.2f} +- "
        "{:.2f} points; TRSGDW against TRSGD on Fashion-MNIST at batch 8, {:+.2f} +- "
        "{:.2f}; {} of {} strengths there, {:+.2f} +- {:.2f} (coupled, no inner "
        "decay, 0.1) and {:+.2f} +- {:.2f} (decoupled, S = 5, 0.3); TRAdamW against "
        "inner decay alone in language at batch 1, {:+.4f} +- {:.4f} bits.",
        small_gains,
    ),
    Claim(
        "TRSGD is usable to {:.2f} and {:.2f}, inner decay alone to {:.2f} and "
        "{:.2f}, SGD at 0.212 x to {:.2f} and {:.2f}. At batch 32 SGD at 0.293 x "
        "reaches further, {:.2f}, than TRSGD, {:.2f}. The anchor alone reaches {:.1f} "
        "to {:.1f} times as far as SGD from batch 4 on. The widths in decades differ "
        "from their base's by less than half of the difference's 95 % interval, but "
        "for {} of those that no grid cuts off: the anchor alone's at batch 32 on "
        "digits, {:.2f} against {:.2f} (noise-digits).",
        widths,
    ),
    Claim(
        "where SGD fails from {:.1f}. At strength 1 it does so with the inner decay; "
        "without it up to {:.2f}, and at higher rates it loses {:.1f} to {:.1f} "
        "points. Without inner decay the usable range is at least {:.2f} decades wide "
        "at strength 1 and {:.2f} at strength 3, both cut off by the grid; SGD's is "
        "{:.2f} on a grid that does not cut it (sensitivity-digits). Over a period "
        "the step is that of SGD at a rate of at most 1 / (2 lambda S), {:.3f} at "
        "strength 3, and SGD's best rate is {:.3f}: the strength has taken over the "
        "part of the learning rate. On Fashion-MNIST strength 3 keeps the accuracy "
        "within two points of its best up to 1, where SGD fails from {:.1f} as well. "
        "Behind Adam, on digits, strengths of 3 and 10 do so within a point up to "
        "{:.1f}, the end of the grid, where Adam fails from {:.2f}. A coupled pull of "
        "strength 3 behind SGD fails from {:.2f} on digits, without inner decay from "
        "{:.2f}.",
        cap,
    ),
    Claim(
        "at batch 128 on digits TRSGD {:+.1f} +- {:.1f}, TRSGDW {:+.1f} +- {:.1f}, "
        "TRAdam {:+.1f} +- {:.1f} points; at batch 32 on Fashion-MNIST TRSGDW {:+.1f} "
        "+- {:.1f}, TRAdam {:+.1f} +- {:.1f}, and in noise TRAdam {:+.1f} +- {:.1f} "
        "and {:+.1f} +- {:.1f}. Inner decay alone loses there too, {:+.1f} +- {:.1f} "
        "and {:+.1f} +- {:.1f} in noise, and {:+.1f} +- {:.1f} to Adam on digits at "
        "batch 4; its {:+.1f} +- {:.1f} at batch 128 and {:+.1f} +- {:.1f} at 32 are "
        "not significant. The pull beside it makes a significant difference in {} of "
        "{} comparisons, {} of them losses. The anchor without inner decay equals the "
        "base in {} of {}, and gains in {}.",
        inner_decay,
    ),
    Claim(
        "The coupled pull of strength 3 loses {:.1f}, {:.1f} and {:.1f} points on "
        "digits at S of 10, 20 and 50, and {:.1f} and {:.1f} at anchor steps of 0.5 "
        "and 0.1,",
        coupled_strength_3,
    ),
]

COPIED = ()
EXEMPT = {
    "up to a rate of 1, the end of the grid": "asserted in `cap`",
    "weight decay (1e-4, for language 0;": "settings",
}
