"""Seconds of work on a device, interleaved, and their spread."""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax

from benchmarks.records import origin

REPEATS = 7
T = TypeVar("T")


class Times(NamedTuple):
    """The median of several times, the least and the most."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Times:
    """Return the median, the least and the most of some values."""
    return Times(statistics.median(values), min(values), max(values))


def ratio(turns: list[tuple[float, ...]], which: int, to: int) -> Times:
    """Return the ratio of two works that were `interleaved`, paired by turn."""
    return spread([turn[which] / turn[to] for turn in turns])


def columns(name: str, times: Times, digits: int = 3) -> dict[str, str]:
    """Return three columns of a row: NAME, NAME_low and NAME_high."""
    names = (name, f"{name}_low", f"{name}_high")
    return {key: f"{x:.{digits}f}" for key, x in zip(names, times, strict=True)}


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds until the arrays that a work returns are computed."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def interleaved(*works: Callable[[], Any]) -> list[tuple[float, ...]]:
    """Time each work once a turn, in `REPEATS` turns after one that does not count.

    Every second turn goes backwards, so that no work always follows the same other.

    Returns:
      The seconds of all works, by turn.
    """
    turns = []
    for turn in range(1 + REPEATS):
        order = -1 if turn % 2 else 1
        turns.append(tuple([seconds(work) for work in works[::order]][::order]))
    return turns[1:]


Start = Callable[[], Callable[[], Any]]
"""Allocates what a compiled work needs, and returns the work, ready to be timed."""


def in_threads(works: Sequence[Callable[[], T]]) -> list[Future[T]]:
    """Do all works side by side, and return when the last one is done or has failed.

    XLA compiles in one thread while Python traces in another.
    """
    with ThreadPoolExecutor(origin.cores()) as pool:
        return [pool.submit(work) for work in works]


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that makes a value at its first call, whatever thread asks."""
    lock, made = threading.Lock(), list[T]()

    def get() -> T:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def repeated(
    function: Callable[..., Any],
    carry: tuple[Any, ...],
    constants: tuple[Any, ...] = (),
) -> Callable[[], Any]:
    """Return a work that calls a function on what its last call returned.

    The function may take the buffers of `carry` for its own; `constants` stay.
    """
    kept = [carry]

    def work() -> Any:
        kept[:] = [function(*kept[0], *constants)]
        return kept[0]

    return work
