"""docs/recipes/mixed_precision.md."""

from claims.committed import cells, numbers
from claims.pages import Claim

DIGITS = "examples/results/mixed_precision.md"
SMALLER = "examples/results/smaller_anchor-{}.md"
DATA = ("digits", "fashion-mnist")
RATES = ("1e-05", "0.0001", "0.001", "0.01", "0.1")
GRADIENTS, ANCHOR = 3, 4  # columns


def error(column, rate):
    """Of the default pull, in percent of it."""
    return 100 * numbers(cells(DIGITS, f"strength 0.1, rate {rate}")[column])[0]


def trial(data, base, rate):
    """Return the change in accuracy by an int16 anchor, its interval, the error."""
    row = cells(SMALLER.format(data), f"{base}, {rate}, int16")
    return *numbers(row[2]), 100 * float(row[3])


def trials(rates):
    return [trial(d, b, rate) for d in DATA for b in ("sgd", "adam") for rate in rates]


def smaller():
    """How well an int16 anchor keeps the displacements, and the accuracy."""
    low, all_rates = trials(RATES[:-1]), trials(RATES)
    errors = [error for *_, error in low]
    equal = [below <= 0 <= above for _, below, above, _ in all_rates]
    pairs = zip(all_rates, equal, strict=True)
    different = sorted(mean for (mean, *_), same in pairs if not same)
    (*lower, higher) = different
    assert lower[-1] < 0 < higher
    unsteady = [trial("fashion-mnist", base, "0.1") for base in ("sgd", "adam")]
    return (
        max(errors),
        sum(error < 0.5 for error in errors),
        len(errors),
        max(error for *_, error in all_rates),
        sum(equal),
        len(equal),
        higher,
        *(-mean for mean in reversed(lower)),
        *(100 * (above - below) / 2 for _, below, above, _ in unsteady),
    )


def parameters():
    row = cells(DIGITS, "strength 0, rate 0.0001")
    return (100 * (numbers(row[1])[0] - numbers(row[5])[0]),)


CLAIMS = [
    Claim(
        "at learning rate 1e-4 the default pull is off by {:.0f} %, at 1e-2 by {:.0f} "
        "%",
        lambda: (error(GRADIENTS, "0.0001"), error(GRADIENTS, "0.01")),
    ),
    Claim(
        "the pull was off by {:.1f} % at rate 1e-2, {:.0f} % at 1e-3 and {:.0f} % at "
        "1e-4.",
        lambda: tuple(error(ANCHOR, rate) for rate in ("0.01", "0.001", "0.0001")),
    ),
    Claim(
        "were right to {:.0f} % or better (in {} of {} trials to 0.5 %) at rates from "
        "1e-5 to 1e-2 and to {:.0f} % at 0.1. In {} of {} trials its accuracy equals "
        "the float32 anchor's (the 95 % interval contains 0), in one it is {:.4f} "
        "above, in two {:.4f} and {:.4f} below. At rate 0.1 on Fashion-MNIST, where "
        "training is unsteady, that says little: the intervals are +- {:.0f} points "
        "(SGD) and {:.0f} (Adam)",
        smaller,
    ),
    Claim("lose {:.0f} points at rate 1e-4 on digits, with no pull at all", parameters),
]
COPIED = ()
ROUNDING = "tests/library/test_mixed_precision.py"
EXEMPT = {
    "below 1/512 of the gradient": ROUNDING,
    "rounded by up to 0.39 % of each weight": ROUNDING,
    "drawn around 0 with deviation 0.02": ROUNDING,
    "that is 0.67 % at rate 1e-3 and 67 % at 1e-5, and 54 times as much near 1": (
        ROUNDING
    ),
    "2 bytes a float32 parameter": "a format",
}
