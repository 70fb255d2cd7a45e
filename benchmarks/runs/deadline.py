"""A moment by which to stop, and whether what comes next ends before it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf

from benchmarks.runs import signals

MARGIN = 1.25  # what comes may take so much longer than the last time


class Deadline:
    """Work asks before what it cannot interrupt, and has that timed.

    Attributes:
      at: the moment, on the clock of `time.monotonic`.
      last: seconds that each kind of work took the last time, or a guess before it.
    """

    def __init__(self, at: float = inf, guesses: Mapping[str, float] | None = None):
        self.at = at
        self.last = dict(guesses or {})

    def allows(self, *kinds: str) -> bool:
        """Whether there is time for all of these, one after the other.

        After a signal there is none.
        """
        if signals.asked():
            return False
        seconds = sum(self.last.get(kind, 0.0) for kind in kinds)
        return time.monotonic() + MARGIN * seconds < self.at

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.last[kind] = time.monotonic() - began
