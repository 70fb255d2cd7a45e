"""The experiments on slow weights."""

from functools import cache

from benchmarks.report import statistics, trials
from claims.committed import RESULTS, csv, interval, meta
from claims.pages import Claim

ADAMW, SNOO, LOOKAHEAD = "adamw, decay tuned", "adamw, snoo", "adamw, lookahead"
AVERAGE, SCHEDULE_FREE = "adamw, weight average", "schedule-free adamw, decay tuned"
MUON = "muon, decay tuned"
WITH_MUON = MUON, "muon, lookahead", "muon, snoo"
SHOWN = ADAMW, LOOKAHEAD, SNOO, AVERAGE, SCHEDULE_FREE
NAMES = {False: "outer-language", True: "outer-language-muon"}


def facts(muon=False):
    return meta(f"{RESULTS}/{NAMES[muon]}/meta.json")


def minutes(muon=False):
    return sum(facts(muon)["seconds"].values()) / 60


@cache
def values(method):
    muon = method.startswith("muon")
    rows = csv(f"{RESULTS}/{NAMES[muon]}/metrics.csv")
    return trials.values(trials.tested(rows, facts(muon))[method], "bits_per_byte")


def mean(method):
    return interval(statistics.estimate(values(method)))


def minus(method, peer):
    return interval(statistics.estimate(values(method) - values(peer)))


CLAIMS = [
    Claim(
        "{:.0f} min. Test bits per byte, +- half of the 95 % interval (n=20): "
        "AdamW {:.3f} +- {:.3f}, Lookahead {:.3f} +- {:.3f}, SNOO {:.3f} +- {:.3f}, "
        "average {:.3f} +- {:.3f}, Schedule-Free {:.3f} +- {:.3f}; paired: SNOO - "
        "AdamW {:+.3f} +- {:.3f}, SNOO - average {:+.3f} +- {:.3f}, Lookahead - AdamW "
        "{:+.3f} +- {:.3f} (primary, chosen before), average - AdamW {:+.3f} +- "
        "{:.3f}, Schedule-Free - AdamW {:+.3f} +- {:.3f}",
        lambda: (
            minutes(),
            *(x for method in SHOWN for x in mean(method)),
            *minus(SNOO, ADAMW),
            *minus(SNOO, AVERAGE),
            *minus(LOOKAHEAD, ADAMW),
            *minus(AVERAGE, ADAMW),
            *minus(SCHEDULE_FREE, ADAMW),
        ),
    ),
    Claim(
        "{:.0f} min. Test bits per byte, +- half of the 95 % interval (n=20): "
        "Muon {:.3f} +- {:.3f}, Lookahead {:.3f} +- {:.3f}, SNOO {:.3f} +- {:.3f}; "
        "paired: Lookahead - Muon {:+.3f} +- {:.3f}, SNOO - Muon {:+.3f} +- {:.3f} "
        "(primary, chosen before)",
        lambda: (
            minutes(muon=True),
            *(x for method in WITH_MUON for x in mean(method)),
            *minus("muon, lookahead", MUON),
            *minus("muon, snoo", MUON),
        ),
    ),
]
OF_METHOD = [
    Claim(
        "Lookahead is {:+.3f} +- {:.3f} bits a byte from AdamW and SNOO {:+.3f} +- "
        "{:.3f} behind it",
        lambda: (*minus(LOOKAHEAD, ADAMW), *minus(SNOO, ADAMW)),
    ),
    Claim(
        "With Muon Lookahead is {:+.3f} +- {:.3f} from it, and SNOO {:+.3f} +- {:.3f}",
        lambda: (*minus("muon, lookahead", MUON), *minus("muon, snoo", MUON)),
    ),
]
OF_WHICH = [
    Claim(
        "Lookahead minus AdamW is {:+.3f} +- {:.3f} bits a byte, SNOO minus AdamW "
        "{:+.3f} +- {:.3f}, Schedule-Free minus AdamW {:+.3f} +- {:.3f}",
        lambda: (
            *minus(LOOKAHEAD, ADAMW),
            *minus(SNOO, ADAMW),
            *minus(SCHEDULE_FREE, ADAMW),
        ),
    ),
    Claim(
        "SNOO minus Muon is {:+.3f} +- {:.3f}, Lookahead minus Muon {:+.3f} +- {:.3f}",
        lambda: (*minus("muon, snoo", MUON), *minus("muon, lookahead", MUON)),
    ),
]
COPIED = ()
EXEMPT = {
    "12 trials each with the weight decay": "a setting",
    "with Muon, 12 trials each": "a setting",
}
