"""benchmarks/README.md: "What they show"."""

import numpy as np

from benchmarks.analysis import is_equal
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
    ADAM_INNER,
    ADAM_PRIMARY,
    ADAM_STRENGTHS,
    CIFAR,
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
    WIDTH_16,
    better_strengths,
    chosen_strength,
    fewer,
    high,
    lost,
    more,
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


def decades(method, batch):
    """The usable width and its standard error, a bootstrap."""
    row = cells(f"{RESULTS}/{DIGITS}/table.md", method, after=f"Batch {batch}:")
    return numbers(row[6])


def widths():
    """How far SGD and its forms reach."""
    reaches = [
        high(DIGITS, "anchor alone", batch) / high(DIGITS, "sgd", batch)
        for batch in (4, 8, 32, 128)
    ]
    for batch in (1, 2, 4, 8, 32, 128):
        for method in (*SGD_FORMS, INNER, "anchor alone", "sgd at 0.293 x"):
            wide, base = decades(method, batch), decades("sgd", batch)
            assert abs(wide[0] - base[0]) < 2 * np.hypot(wide[1], base[1])
    return (
        *(
            high(DIGITS, method, batch)
            for method in ("trsgd", INNER, "sgd at 0.212 x")
            for batch in (4, 8)
        ),
        *(high(DIGITS, method, 32) for method in ("sgd at 0.293 x", "trsgd")),
        min(reaches),
        max(reaches),
    )


def adam_cap():
    """The largest rate that was tried, and where Adam fails."""
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
    """The anchor without inner decay, minus its base."""
    return [
        run(name).minus(method, base, *where)
        for name in (DIGITS, FASHION, NOISE, FASHION_NOISE)
        for method, base in (("anchor alone", "sgd"), ("adam, anchor alone", "adam"))
        for where in run(name).conditions
        if method in run(name).meta["baselines"]
    ]


def beside_inner_decay():
    """The pull with inner decay, minus inner decay alone."""
    return [
        each
        for name in (DIGITS, FASHION, NOISE, FASHION_NOISE)
        for (_, control, _), each in run(name).contrasts().items()
        if control in (INNER, ADAM_INNER)
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


def peers_on_digits():
    behind = {
        *(("sam", 8), ("sam", 32), ("accumulation", 32), ("accumulation", 128)),
        *(("schedule-free", 32), ("schedule-free", 128), ("clipping", 2)),
    }
    peers = ("lookahead", "weight average", "schedule-free", "sam", "clipping")
    found = {
        (peer, batch)
        for peer in (*peers, "accumulation", "muon")
        for batch in (1, 2, 4, 8, 32, 128)
        if worse([run(DIGITS).minus(peer, "sgd", batch)])
    }
    assert found == behind
    return (
        more(DIGITS, "muon", "sgd", 1),
        more(DIGITS, "muon", "sgd", 2),
        more(DIGITS, "adam", "sgd", 128),
    )


def peers_on_fashion():
    muon = [run(FASHION).minus("muon", "sgd", batch) for batch in (2, 8, 32)]
    assert [is_equal(each) for each in muon] == [False, True, True]
    assert better([run(FASHION).minus(x, "sgd", 2) for x in ("adam", "clipping")]) == 2
    sam = [fewer(FASHION, "sam", "sgd", batch) for batch in (2, 8, 32)]
    return (*(each.mean / POINT for each in muon), min(sam), max(sam))


def language():
    found, batches = run("language"), (1, 4, 16)

    def bits(method):
        return tuple(found.mean(method, batch).mean for batch in batches)

    behind = [found.minus("sgd", "adam", batch) for batch in batches]
    assert worse([each._replace(mean=-each.mean) for each in behind]) == 3
    rescaled = [found.minus("adam, b2 rescaled", "adam", b) for b in batches]
    assert all(map(is_equal, rescaled))
    edges = {
        (method, batch)
        for method in found.meta["baselines"]
        for batch in batches
        for rates in [found.rows(method, batch).learning_rate]
        if found.best(method, batch) in (rates.min(), rates.max())
    }
    assert edges == {("schedule-free adam", 1), ("muon beside adam", 16)}
    decades = [
        found.usable(method, batch).decades
        for method in found.meta["baselines"]
        for batch in batches
    ]
    return (
        *bits("adam"),
        found.meta["references"]["frequencies after the last byte"]["bits_per_byte"],
        *(each.mean for each in behind),
        *bits("muon beside adam"),
        *bits("schedule-free adam"),
        *(interval(each)[1] for each in rescaled),
        round(512 * np.log(0.5) / np.log(0.95), -2),
        min(decades),
        max(decades),
    )


def cifar():
    differences = run(CIFAR).contrasts().values()
    small, wide = run(WIDTH_16), run(CIFAR)
    assert worse(differences) == 4
    values = (
        *points(CIFAR, "tradam", "adam"),
        *points(CIFAR, "tradam", "adam at 0.293 x"),
        *points(CIFAR, "tradam", ADAM_INNER),
        *points(CIFAR, "sgd at 0.212 x", "trsgd"),
        *points(CIFAR, "trsgd", "sgd"),
        np.ptp(wide.test("sgd")) / POINT,
        len(differences),
        WORDS[better(differences)],
        *points(CIFAR, "tradamw", ADAM_INNER),
        WORDS[worse(differences)].capitalize(),
        *points(WIDTH_16, "trsgd", "sgd"),
        *points(WIDTH_16, "tradam", "adam"),
        *points(WIDTH_16, "trsgd", INNER),
        *points(WIDTH_16, "tradam", ADAM_INNER),
    )
    ours, theirs = (small.validation(x) for x in ("tradam", "adam at 0.293 x"))
    epochs = [run(name).meta["experiment"]["epochs"] for name in (CIFAR, WIDTH_16)]
    return (
        *values,
        abs(ours - theirs).max() / POINT,
        *(n / 2 for n in epochs),
    )


def label_to_photo():
    found = run("gan")
    differences = {
        (method, measure): found.minus(method, "adam", measure=measure)
        for method, base in found.meta["baselines"].items()
        for measure in ("miou", "l1", "ms_ssim", "real", "fake", "swing")
        if base
    }
    differences = {k: x for k, x in differences.items() if x.error > 0}
    apart = [key for key, x in differences.items() if not is_equal(x)]
    assert apart == [("tradamw", "l1"), (ADAM_INNER, "real")]
    mean, true = "always the mean photo", "the true photo"
    return (
        len(differences),
        WORDS[len(apart)],
        *interval(differences["tradamw", "l1"]),
        *(found.meta["references"][x]["miou"] for x in (mean, true)),
    )


CLAIMS = [
    Claim(
        "chosen on validation with the rate ({} and {}) they are {:+.1f} +- {:.1f} and "
        "{:+.1f} +- {:.1f} points from tuned Adam",
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
        "to {:.1f} times as far as SGD from batch 4 on. No width in decades differs "
        "from SGD's by two standard errors.",
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
        "strength 3 fails from {:.2f} on digits, without inner decay from {:.2f}.",
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
    Claim(
        "Muon is ahead of SGD at batch 1 and 2, by {:.1f} and {:.1f} points. SAM, "
        "counted at its two gradients (of a batch each), is behind at batch 8 and 32, "
        "accumulation and Schedule-Free at 32 and 128, clipping at 2. At batch 128 "
        "Adam is ahead by {:.1f}.",
        peers_on_digits,
    ),
    Claim(
        "Muon is ahead of SGD at batch 2 by {:.1f} points (by {:.1f} and {:.1f} at 8 "
        "and 32, which is not significant), so are Adam and clipping at batch 2; SAM "
        "at its two gradients is {:.1f} to {:.1f} points behind,",
        peers_on_fashion,
    ),
    Claim(
        "Adam takes {:.2f}, {:.2f} and {:.2f} bits per byte, the last no better than "
        "counts of byte pairs ({:.2f}); accumulating gradients to 16 is the run at "
        "batch 16 again. SGD without momentum is {:.2f}, {:.2f} and {:.2f} bits behind "
        "Adam: nearer the smaller the batch, but not as good. Muon ({:.2f}, {:.2f}, "
        "{:.2f}) and Schedule-Free ({:.2f}, {:.2f}, {:.2f}) gain nothing from batch 4 "
        "to 1. That b2 must be rescaled we do not see: at every batch it equals b2 = "
        "0.95 (95 % intervals of +- {:.2f}, {:.2f} and {:.2f}), in runs of 1,024 "
        "windows, shorter than the half-life of {:,.0f} that it holds. The rates are "
        "half a decade apart and the usable ranges {:.1f} to {:.1f} decades,",
        language,
    ),
    Claim(
        "TRAdam leads Adam by {:.1f} +- {:.1f} points (95 %). So does Adam at 0.293 "
        "x: TRAdam is {:.1f} +- {:.1f} from it, and {:+.1f} +- {:.1f} from Adam with "
        "the inner decay alone. SGD at 0.212 x leads TRSGD by {:.1f} +- {:.1f}; that "
        "TRSGD leads SGD, by {:.1f} +- {:.1f}, three seeds cannot show, as SGD's lie "
        "{:.0f} points apart. Of {} differences {} are in the anchor's favour: "
        "TRAdam's and TRAdamW's to Adam at the same rate, and one to a control, "
        "TRAdamW's to inner decay alone, {:+.1f} +- {:.1f}. {} are against it, "
        "TRSGD's and TRSGDW's to SGD at a smaller rate. With a quarter of the "
        "channels, one epoch and every optimizer at its best rate no gain is seen: "
        "TRSGD {:.1f} +- {:.1f}, TRAdam {:.1f} +- {:.1f} points from the tuned base, "
        "{:+.1f} +- {:.1f} and {:+.1f} +- {:.1f} from inner decay alone; at no rate "
        "is TRAdam more than {:.1f} points of validation accuracy from Adam at 0.293 "
        "x. That is {:.0f} and {:.1f} % of the published training,",
        cifar,
    ),
    Claim(
        "Of {} differences to Adam (mean IoU, L1, MS-SSIM, the discriminator's logits "
        "and their swing) {} lie beyond their 95 % interval, where one would by "
        "chance: TRAdamW's L1 is {:.3f} +- {:.3f} worse, and with inner decay alone "
        "true photos look truer. No steadier discriminator is seen. All but TRAdam "
        "and TRAdamW, which are best at the edge of the grid, are best at three times "
        "the published rate. The score tells a picture from the mean photo ({:.2f}) "
        "but not from the true one ({:.2f}):",
        label_to_photo,
    ),
]

COPIED = ()
EXEMPT = {
    "up to a rate of 1, the end of the grid": "asserted in `cap`",
    "(1,024, 256 and 64 at batch 1, 4 and 16)": "1,024 windows over the batch size",
    "smaller differences than 0.05 bits": "half of the distance of two rates",
    "Muon at 16 are best": "asserted in `language`",
    "of seed 0": "a setting",
    "weight decay (1e-4, for language 0;": "settings",
}
