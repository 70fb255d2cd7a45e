"""The comparison with a pretrained language model, in five pages."""

from benchmarks.experiments.finetune import BASE, EWC, FEW, SHORT
from benchmarks.report import fronts, statistics
from claims import continual
from claims.committed import RESULTS, csv, interval
from claims.experiments import sizes_of
from claims.pages import Claim

NAME = "finetune-smollm2-short"
_, AVERAGE, WISE, LORA = FEW
OWN = "bits_per_byte_own"


def mean(method):
    """Return bits per byte of old and new text."""
    return continual.mean(method, NAME, 1)


def minus(peer):
    """EWC minus a peer, paired by seed."""
    return continual.minus(EWC, peer, NAME, 1)


def behind(peer):
    """Return a peer minus EWC."""
    return continual.minus(peer, EWC, NAME, 1)


def on_own(method):
    """Bits per byte of the network's own texts, by seed, in the same networks."""
    chosen = fronts.best_mean(continual.study(NAME), method, continual.WEIGHT)
    rows = csv(f"{RESULTS}/{NAME}/metrics.csv")
    return fronts.tested_other(rows, method, chosen, OWN)


def own_mean(method):
    return interval(statistics.estimate(on_own(method)))


def own_minus(peer):
    return interval(statistics.estimate(on_own(EWC) - on_own(peer)))


def untrained(measure):
    """Return a measure of the network as it was given, on the test split."""
    rows = csv(f"{RESULTS}/{NAME}/metrics.csv")
    first = rows[rows.epoch == 1][f"test_{measure}"].dropna()
    assert first.nunique() == 1
    return float(first.iloc[0])


SHOWN = *FEW, EWC


def row():
    return (
        continual.minutes(NAME),
        untrained("bits_per_byte"),
        *(x for method in SHOWN for x in mean(method)),
        *(x for peer in FEW for x in minus(peer)),
        untrained(OWN),
        *(x for method in (BASE, EWC) for x in own_mean(method)),
        *(x for peer in FEW for x in own_minus(peer)),
    )


CLAIMS = [
    Claim(
        "the same in {} steps of {} x {} tokens, {} methods, {} trials each, {} test "
        "seeds.",
        lambda: sizes_of(SHORT),
    ),
    Claim(
        "on 2 CPU cores that had other work, {:.0f} min. Mean bits per byte of "
        "Shakespeare, the old text, and of the Jargon File, the new one, +- half of "
        "the 95 % interval (n=4): before {:.3f}, fine-tuned {:.3f} +- {:.3f}, average "
        "{:.3f} +- {:.3f}, WiSE-FT {:.3f} +- {:.3f}, LoRA of rank 8 {:.3f} +- {:.3f}, "
        "EWC decoupled {:.3f} +- {:.3f}; paired: EWC - fine-tuned {:+.3f} +- {:.3f}, "
        "EWC - average {:+.3f} +- {:.3f}, EWC - WiSE-FT {:+.3f} +- {:.3f}, EWC - LoRA "
        "{:+.3f} +- {:.3f} (primary, chosen before). EWC is ahead of plain fine-tuning "
        "and of LoRA, and behind both ways to average, after Holm's correction too. On "
        "texts that the network wrote before, in the same networks: before {:.3f}, "
        "fine-tuned {:.3f} +- {:.3f}, EWC {:.3f} +- {:.3f}; EWC - fine-tuned {:+.3f} "
        "+- {:.3f}, EWC - average {:+.3f} +- {:.3f}, EWC - WiSE-FT {:+.3f} +- {:.3f}, "
        "EWC - LoRA {:+.3f} +- {:.3f}.",
        row,
    ),
]
IN_README = Claim(
    "it is {:.3f} +- {:.3f} bits a byte ahead of plain fine-tuning and {:.3f} +- "
    "{:.3f} ahead of LoRA, but [averages of the weights]"
    "(benchmarks/results/finetune-smollm2-short/table.md) are {:.3f} +- {:.3f} ahead",
    lambda: (*behind(BASE), *behind(LORA), *minus(AVERAGE)),
)
OF_WHICH = Claim(
    "this pull is {:.3f} +- {:.3f} bits ahead of plain fine-tuning and {:.3f} +- "
    "{:.3f} of LoRA, and {:.3f} +- {:.3f} behind the average and {:.3f} +- {:.3f} "
    "behind WiSE-FT (4 seeds).",
    lambda: (*behind(BASE), *behind(LORA), *minus(AVERAGE), *minus(WISE)),
)
OF_RECIPE = Claim(
    "on old and new text by {:.3f} +- {:.3f} and {:.3f} +- {:.3f} bits a byte.",
    lambda: (*minus(WISE), *minus(AVERAGE)),
)
