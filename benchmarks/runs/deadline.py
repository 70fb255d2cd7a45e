"""A moment by which to stop, and a guess whether what comes next ends before it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf

from benchmarks.runs import signals

MARGIN = 1.25  # times the seconds of the last time are allowed for
RESERVE = 20.0  # seconds for the imports before and the tables after


def moment(began: float, minutes: float | None) -> float:
    """Return when work has to stop in a command of so many minutes; None has no end.

    `began` and the moment are on the clock of `time.monotonic`.
    """
    if minutes is None:
        return inf
    return began + 60 * minutes - min(RESERVE, 6 * minutes)


class Deadline:
    """The moment by which work has to stop.

    Work asks before each piece that cannot be interrupted, and times the piece.

    Attributes:
      at: the moment, on the clock of `time.monotonic`.
      last: seconds by kind of work: those of the last time, or a guess before it.
    """

    def __init__(self, at: float = inf, guesses: Mapping[str, float] | None = None):
        self.at = at
        self.last = dict(guesses or {})

    def allows(self, *kinds: str) -> bool:
        """Say whether there is time for these kinds of work, one after the other.

        After a signal there is none.
        """
        if signals.asked():
            return False
        seconds = sum(self.last.get(kind, 0.0) for kind in kinds)
        return time.monotonic() + MARGIN * seconds < self.at

    @contextmanager
    def timing(self, kind: str, pieces: int = 1) -> Iterator[None]:
        """Note how long a piece of work takes, the mean of so many."""
        began = time.monotonic()
        yield
        self.last[kind] = (time.monotonic() - began) / pieces
