"""benchmarks/README.md: what was run, and what could have been seen."""

from functools import partial

import numpy as np

from claims.committed import run, seen, standardised
from claims.differences import (
    ADAM_STRENGTHS,
    DIGITS,
    FASHION,
    FASHION_NOISE,
    NOISE,
    POINT,
    on_digits,
)
from claims.pages import Claim


def sizes(name, keys):
    """Of an experiment, from its meta data, by names that blanks separate."""
    found = run(name).meta["experiment"]
    optimizers = {x for _, group in found["groups"] for x in group}
    counts = {"optimizers": len(optimizers), "strengths": len(found["strengths"])}
    values = [(found | counts)[key] for key in keys.split()]
    return tuple(
        x for value in values for x in (value if isinstance(value, list) else [value])
    )


ROWS = (
    ("demo", "digits, batch {}, {} optimizers", "batch_sizes optimizers"),
    (
        FASHION,
        "{} optimizers, batch {}, {}, {}; {:,} train images, {} epochs",
        "optimizers batch_sizes train epochs",
    ),
    (
        "ablation-digits",
        "{} forms x {} strengths, batch {}",
        "optimizers strengths batch_sizes",
    ),
    ("ablation-fashion-mnist", "the same, {:,} train images", "train"),
    (
        ADAM_STRENGTHS,
        "{} forms of Adam x {} strengths, batch {}",
        "optimizers strengths batch_sizes",
    ),
    (NOISE, "batch {}, extra noise, {} optimizers", "batch_sizes optimizers"),
    (FASHION_NOISE, "the same, {} optimizers, {:,} train images", "optimizers train"),
)


def sensitivity():
    (optimizers,), batches = sizes(DIGITS, "optimizers"), sizes(DIGITS, "batch_sizes")
    return optimizers, min(batches), max(batches)


ON_DIGITS = ("demo", DIGITS, NOISE, "ablation-digits", ADAM_STRENGTHS)


def middle_half(estimates, unit=1.0):
    return seen(estimates, 0.25, unit), seen(estimates, 0.75, unit)


CLAIMS = [
    *(
        Claim(
            f"[{name}](results/{name}/table.md): {words}.",
            partial(sizes, name, keys),
        )
        for name, words, keys in ROWS
    ),
    Claim(
        f"[{DIGITS}](results/{DIGITS}/table.md): {{}} optimizers, batch {{}} to {{}}.",
        sensitivity,
    ),
    Claim(
        "of a text at batch {}, {} and {}, {} optimizers.",
        lambda: tuple(sizes("language", "batch_sizes optimizers")),
    ),
    Claim(
        "batch {}, {} epochs, {} optimizers. `run gan",
        lambda: tuple(sizes("gan", "batch_sizes epochs optimizers")),
    ),
    Claim(
        "a comparison of 5 seeds sees a difference of {:.1f} of its standard "
        "deviations, one of 3 seeds (Fashion-MNIST, language, gan, CIFAR-10) {:.1f}. "
        "That is {:.1f} to {:.1f} points on digits, {:.1f} to {:.1f} on Fashion-MNIST "
        "and {:.2f} to {:.2f} bits in language",
        lambda: (
            standardised(5),
            standardised(3),
            *middle_half(on_digits(), POINT),
            *middle_half(run(FASHION).contrasts().values(), POINT),
            *middle_half(run("language").contrasts().values()),
        ),
    ),
    Claim(
        "One test split of 360 images, with a sampling error of {:.1f} points, served "
        "all {} configurations chosen on digits.",
        lambda: (
            np.sqrt(0.97 * (1 - 0.97) / 360) / POINT,
            sum(run(name).chosen() for name in ON_DIGITS),
        ),
    ),
]
COPIED = ()
EXEMPT = ()
