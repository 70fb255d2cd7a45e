"""README.md."""

from claims import continual, fifteen_epochs, plasticity
from claims.committed import (
    RESULTS,
    after_holm,
    better,
    demo_minutes,
    run,
    seen,
    worse,
)
from claims.differences import POINT, on_digits
from claims.pages import WORDS, Claim
from claims.thirty_epochs import minus

COPIED = (f"{RESULTS}/demo/table.md",)

CLAIMS = [
    Claim(
        "on digits, without old data, it is {:.1f} +- {:.1f} points (two tasks) and "
        "{:.1f} +- {:.1f} (five) above the best of its tuned peers",
        lambda: tuple(
            x
            for name in (continual.DIGITS, continual.DIGITS_5)
            for x in continual.minus(continual.EWC, continual.best_peer(name), name)
        ),
    ),
    Claim(
        "over 100 tasks of new random labels its online accuracy is {:.1f} +- {:.1f} "
        "points above Adam's and {:.1f} +- {:.1f} above that of L2 to zero",
        lambda: (
            *plasticity.minus("adam"),
            *plasticity.minus("adam, l2 to 0, coupled"),
        ),
    ),
    Claim(
        "`make demo` trains {} small networks on scikit-learn's digits at batch 8 "
        "({:.1f} to {:.1f} minutes on 2 CPU cores)",
        lambda: (run("demo").meta["lanes"], *demo_minutes()),
    ),
    Claim(
        "half of such comparisons would see {:.1f} points with a power of 80 %",
        lambda: (seen(on_digits(), unit=POINT),),
    ),
    Claim(
        "of {} differences on digits, at batch 1 to 128 and in noisier gradients, {} "
        "is positive beyond its own interval, {} are negative, {} after Holm's "
        "correction",
        lambda: (
            len(on_digits()),
            WORDS[better(on_digits())],
            WORDS[worse(on_digits())],
            {0: "none"}[after_holm(on_digits())],
        ),
    ),
    Claim(
        "TRAdam leads Adam by {:.2f} +- {:.2f} and is {:.2f} +- {:.2f} from Adam at "
        "0.293 x. At a quarter of the width in 30 epochs (6 seeds) TRSGD is {:.2f} +- "
        "{:.2f} from SGD at 0.212 x, TRAdam {:.2f} +- {:.2f} from Adam at 0.293 x.",
        lambda: (
            *fifteen_epochs.minus("tradam", "adam"),
            *fifteen_epochs.minus("tradam", "adam at 0.293 x"),
            *minus("trsgd", "sgd at 0.212 x"),
            *minus("tradam", "adam at 0.293 x"),
        ),
    ),
]

EXEMPT = {
    "contains 0": "a definition",
    "agree with the published implementation to 1e-12 and 1e-7": (
        "tests/library/test_reference.py, test_published_trajectories"
    ),
    "SGD at 0.293 x, the mean inner decay": "H_10 / 10",
    "TRSGD leads SGD by 1.9 points, TRAdam Adam by 3.9.": "published, read off plots",
    "2 seeds, a lossy": "a setting",
    "at 10 x safe": "a setting",
    "is in 0.26-0.49, 1.17-1.72 or 2.58-3.61, although SGD is stable up to 3.8": (
        "test_stability_limits_that_the_documents_quote"
    ),
    "the first to 0 for `lambda_w` above about 0.097": (
        "test_stability_limits_that_the_documents_quote"
    ),
}
