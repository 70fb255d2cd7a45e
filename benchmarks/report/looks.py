"""How a method is drawn: the same in every figure, and never by its colour alone."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Okabe and Ito's colours, which colour-blind readers can distinguish, without the
# yellow and with two greys. Black is for the base.
BLACK = "#000000"
COLOURS = (
    *("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#777777", "#AAAAAA"),
)
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p")
LINES = ("--", "-.", ":", (0, (5, 1, 1, 1)), (0, (3, 3)), (0, (8, 2)), "-")
BASES = ("sgd", "adam", "plain", "plain adam", "fine-tuned")
METHODS = (
    *("trsgd", "trsgdw", "inner decay alone", "sgd at 0.293 x", "anchor alone"),
    *("sgd at 0.212 x", "lookahead", "weight average"),
    *("schedule-free", "sam", "clipping", "accumulation", "muon"),
    *("adamw", "b2 rescaled", "accumulated to 16"),
    *("decay to 0", "l2-sp, coupled", "l2-sp, decoupled", "ewc, coupled"),
    *("ewc, decoupled", "sfa", "average from the old", "wise-ft"),
    *("kl on new inputs", "kl on new inputs, ewc", "ewc from its moment, coupled"),
    *("ewc from its moment, decoupled", "replay", "kl on kept"),
    *("l2 to 0, coupled", "l2 to 0, decoupled", "l2 init, coupled"),
    *("l2 init, decoupled", "shrink and perturb", "layer norm", "snoo"),
    *("lora of rank 8", "lora of rank 32"),
)
"""The methods with a look of their own, in eights: those of eight differ in colour."""


def of(names: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pair each method of a group with its look.

    One that is not among `METHODS`, or whose look is taken by another size of the same
    method, has the first look that no other of the group has.
    """
    names = list(names)
    known = {name: look(name) for name in names}
    taken = {x for x in known.values() if x is not None}
    free = itertools.filterfalse(taken.__contains__, itertools.count())
    drawn: set[int] = set()
    for name in names:
        index = known[name]
        if index is None or index in drawn:
            index = next(free)
        drawn.add(index)
        yield name, style(index)


def look(name: str) -> int | None:
    """Return the number of a method's look, which Adam's form shares with SGD's."""
    if name in BASES:
        return 0
    role = re.sub(r"^(?:adamw?|muon|fine-tuned), ", "", name).replace("tradam", "trsgd")
    role = role.replace("adam at", "sgd at").replace(
        "schedule-free adam", "schedule-free"
    )
    role = re.sub(r"(replay|kl on) (?:of )?(?:\d+|own samples)", r"\1", role)
    role = role.replace("muon beside adam", "muon")
    return METHODS.index(role) + 1 if role in METHODS else None


def style(index: int) -> dict[str, Any]:
    """Return what Matplotlib takes: the base's look for 0."""
    if index == 0:
        looks = {"color": BLACK, "marker": "o", "linestyle": "-", "markersize": 7}
    else:
        turn, place = divmod(index - 1, len(COLOURS))
        looks = {
            "color": COLOURS[place],
            "marker": MARKERS[(place + 3 * turn) % len(MARKERS)],
            "linestyle": LINES[(place + 2 * turn) % len(LINES)],
            "markersize": 5,
        }
    return {**looks, "linewidth": 1.4}
