"""benchmarks/README.md: what it shows of peers, language, CIFAR-10 and photos."""

import numpy as np

from benchmarks.report.statistics import is_equal
from claims.committed import (
    better,
    interval,
    run,
    worse,
)
from claims.differences import (
    ADAM_INNER,
    CIFAR,
    DIGITS,
    FASHION,
    INNER,
    POINT,
    WIDTH_16,
    fewer,
    more,
    points,
)
from claims.pages import WORDS, Claim


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
        "so smaller differences than {} bits may be the grid's",
        lambda: (run("language").score.tolerance,),
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
    "(1,024, 256 and 64 at batch 1, 4 and 16)": "1,024 windows over the batch size",
    "Muon at 16 are best": "asserted in `language`",
    "of seed 0": "a setting",
}
