"""The continual experiments, in three pages."""

from functools import cache

import numpy as np

from benchmarks.report import fronts, statistics
from claims.committed import RESULTS, csv, interval, meta
from claims.pages import ROOT, Claim

DIGITS, DIGITS_5 = "continual-digits", "continual-digits-5"
COUPLED = "continual-digits-5-coupled"
TEXT, FASHION = "continual-text", "continual-fashion-mnist"
EWC, ADAM_EWC = "ewc, decoupled", "adam, ewc, decoupled"
POINT = 0.01
WEIGHT = 0.5  # of the new task


@cache
def study(name):
    return fronts.study(csv(f"{RESULTS}/{name}/metrics.csv"), facts(name))


def facts(name):
    return meta(f"{RESULTS}/{name}/meta.json")


@cache
def scores(method, name):
    """Of old and new in the mean, by test seed, at what validation chose."""
    chosen = fronts.best_mean(study(name), method, WEIGHT)
    own = fronts.tested(study(name), method, chosen)
    return np.asarray((own.old_score + own.new_score) / 2)


def mean(method, name=DIGITS, unit=POINT):
    return interval(statistics.estimate(scores(method, name)), unit)


def minus(method, peer, name=DIGITS, unit=POINT):
    """Mean and half of the 95 % interval, paired by seed, in points or another unit."""
    pairs = scores(method, name) - scores(peer, name)
    return interval(statistics.estimate(pairs), unit)


def with_adam(peer="adam, l2-sp, decoupled"):
    """EWC decoupled minus a peer, with Adam, on two tasks and on five."""
    return tuple(x for y in (DIGITS, DIGITS_5) for x in minus(ADAM_EWC, peer, y))


def coupled_with_adam():
    """Coupled minus decoupled EWC on five tasks, and the reverse on two."""
    coupled = "adam, ewc, coupled"
    return *minus(coupled, ADAM_EWC, COUPLED), *minus(ADAM_EWC, coupled)


def coupled_row():
    bases = "ewc", "adam, ewc", "adam, ewc from its moment"
    tables = f"{RESULTS}/{COUPLED}/table.md"
    assert "(edge)," not in (ROOT / tables).read_text(encoding="utf-8")
    assert len(scores("ewc, coupled", COUPLED)) == 20
    return (
        minutes(COUPLED),
        *(
            x
            for base in bases
            for x in minus(f"{base}, coupled", f"{base}, decoupled", COUPLED)
        ),
    )


def group(title, name):
    return dict(facts(name)["experiment"]["groups"])[title]


def best_peer(name=DIGITS):
    """Name the tuned peer with neither old data nor EWC in it that is best."""
    peers = [x for x in group("SGD, without old data", name) if "ewc" not in x]
    return max(peers, key=lambda method: scores(method, name).mean())


def minutes(name):
    return facts(name)["seconds"]["run"] / 60


SHOWN = EWC, "l2-sp, decoupled", "kl on new inputs", "plain", "replay of 150"


def row(name):
    return (
        minutes(name),
        *(x for method in SHOWN for x in mean(method, name)),
        *minus(EWC, "l2-sp, decoupled", name),
        *minus(EWC, "kl on new inputs", name),
        *minus(EWC, "replay of 150", name),
        *minus("kl on new inputs, ewc", "kl on new inputs", name),
    )


def text_row():
    shown = (
        *("plain adam", "adam, l2-sp, decoupled", ADAM_EWC, "adam, kl on new inputs"),
        *("adam, wise-ft", "adam, average from the old", "adam, replay of 130"),
    )
    peers = "adam, wise-ft", "adam, average from the old", "adam, kl on new inputs"
    return (
        minutes(TEXT),
        *(x for method in shown for x in mean(method, TEXT, 1)),
        *(x for peer in (*peers, "plain adam") for x in minus(ADAM_EWC, peer, TEXT, 1)),
    )


def took():
    """Of a step, how many times plain SGD's: the median, the least and the most."""
    rows = csv(f"{RESULTS}/continual-costs/steps.csv").set_index("method")
    shown = rows.loc[[EWC, "kl on new inputs", "replay of 150"]]
    ratios = shown[["to_base", "to_base_low", "to_base_high"]]
    return *(float(x) for x in ratios.to_numpy().ravel()), rows.after_ms[EWC]


def images_to_pull(images):
    """Bytes of images and labels, over those of anchor and Fisher, all as floats."""
    hidden = facts(FASHION)["experiment"]["hidden"]
    weights = (28 * 28 + 1) * hidden + (hidden + 1) * 10
    return images * (28 * 28 + 1) / (2 * weights)


WORDS = (
    "on 2 CPU cores that had other work, {:.0f} min. Mean test accuracy of ",
    " in percent, +- half of the 95 % interval ",
    ": EWC decoupled {:.2f} +- {:.2f}, L2-SP decoupled {:.2f} +- {:.2f}, KL on the "
    "new inputs {:.2f} +- {:.2f}, plain {:.2f} +- {:.2f}, replay of 150 images {:.2f} "
    "+- {:.2f}; in points, paired: EWC - L2-SP {:+.2f} +- {:.2f}, EWC - KL {:+.2f} +- "
    "{:.2f} (primary, chosen before), EWC - replay {:+.2f} +- {:.2f}, KL and EWC "
    "together - KL {:+.2f} +- {:.2f}",
)


@cache
def keeps():
    """Of each method, the bytes of parameters, state and examples."""
    return csv(f"{RESULTS}/continual-costs/kept.csv").set_index("method")


def copies(method):
    """Of the parameters, in the state between two steps."""
    row = keeps().loc[method]
    return row.state_bytes / row.parameters_bytes


def kept():
    sgd = "plain", "l2-sp, decoupled", EWC, "kl on new inputs, ewc"
    assert round(copies("kl on new inputs")) == round(copies("l2-sp, decoupled"))
    return (
        *(copies(method) for method in (*sgd, "plain adam", ADAM_EWC)),
        int(keeps().examples_bytes["replay of 150"]),
    )


CLAIMS = [
    Claim(
        "on 2 CPU cores, {:.0f} min. Coupled minus decoupled EWC in points, paired, +- "
        "half of the 95 % interval (n=20; primary, chosen before): with SGD {:+.2f} +- "
        "{:.2f}, with Adam {:+.2f} +- {:.2f}, with Adam and the Fisher from its moment "
        "{:+.2f} +- {:.2f}.",
        coupled_row,
    ),
    Claim(
        "A step on 2 CPU cores took {:.2f} times as long as plain SGD's with decoupled "
        "EWC ({:.2f} to {:.2f}, 7 turns), {:.2f} times with KL on the new inputs "
        "({:.2f} to {:.2f}) and {:.2f} times with the replay ({:.2f} to {:.2f}). After "
        "a task EWC took {:.2f} ms once.",
        took,
    ),
    Claim(
        "on 2 CPU cores that had other work, {:.0f} min. Mean bits per byte of the "
        "old texts and of the new one, +- half of the 95 % interval (n=10): plain Adam "
        "{:.3f} +- {:.3f}, L2-SP decoupled {:.3f} +- {:.3f}, EWC decoupled {:.3f} +- "
        "{:.3f}, KL on the new inputs {:.3f} +- {:.3f}, WiSE-FT {:.3f} +- {:.3f}, "
        "average {:.3f} +- {:.3f}, replay of 130 windows {:.3f} +- {:.3f}; paired: EWC "
        "- WiSE-FT {:+.3f} +- {:.3f}, EWC - average {:+.3f} +- {:.3f}, EWC - KL "
        "{:+.3f} +- {:.3f} (primary, chosen before), EWC - plain {:+.3f} +- {:.3f}.",
        text_row,
    ),
    Claim(
        "no significant difference to plain Adam is seen; {:.3f} bits would have been "
        "seen",
        lambda: (
            statistics.visible(scores(ADAM_EWC, TEXT) - scores("plain adam", TEXT)),
        ),
    ),
    Claim("both tasks".join(WORDS[:2]) + "(n=30)" + WORDS[2], lambda: row(DIGITS)),
    Claim(
        "the old tasks and of the new one".join(WORDS[:2]) + "(n=20)" + WORDS[2],
        lambda: row(DIGITS_5),
    ),
    Claim(
        "the old tasks and of the new one".join(WORDS[:2]) + "(n=15)" + WORDS[2],
        lambda: row(FASHION),
    ),
    Claim(
        "to SFA (EWC minus SFA {:+.2f} +- {:.2f}) and to coupled L2-SP ({:+.2f} +- "
        "{:.2f}) is seen, and 150 old images keep far more; as single floats they take "
        "{:.1f} times the bytes of anchor and Fisher information here.",
        lambda: (
            *minus(EWC, "sfa", FASHION),
            *minus(EWC, "l2-sp, coupled", FASHION),
            images_to_pull(150),
        ),
    ),
    Claim(
        "KL beside EWC adds nothing significant (EWC minus both: {:+.2f} +- {:.2f})",
        lambda: minus(EWC, "kl on new inputs, ewc", DIGITS_5),
    ),
    Claim(
        "With Adam EWC gains less: {:.2f} +- {:.2f} points over L2-SP decoupled; the "
        "Fisher from Adam's moment gains another {:.2f} +- {:.2f}.",
        lambda: (
            *minus(ADAM_EWC, "adam, l2-sp, decoupled", DIGITS_5),
            *minus("adam, ewc from its moment, decoupled", ADAM_EWC, DIGITS_5),
        ),
    ),
    Claim(
        "plain SGD {:.0f} copy of the parameters, L2-SP and KL to the old network "
        "{:.0f}, EWC {:.0f}, both together {:.0f}, plain Adam {:.0f}, EWC with it "
        "{:.0f}. `replay of 150` keeps {:,} bytes of images and labels.",
        kept,
    ),
]
COPIED = ()
EXEMPT = {
    "epochs each, 7 methods": "a setting",
    "SGD 19.62, online EWC 19.49, replay of 200 images 44.79 %": (
        "Buzzega et al. 2020, arXiv 2004.07211"
    ),
    "and their peers, 24 trials each": "a setting",
    "300 steps each, Adam at a constant rate, 15 methods, 24 trials each": "settings",
}
