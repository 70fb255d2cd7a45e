"""Seconds of what runs on a device, in turns, and their spread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax

from benchmarks.records import origin

REPEATS = 7
T = TypeVar("T")


class Times(NamedTuple):
    """Of several runs: the median, the least and the most."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Times:
    return Times(statistics.median(values), min(values), max(values))


def ratio(turns: list[tuple[float, ...]], which: int, to: int) -> Times:
    """Of what `in_turns` found, paired by turn."""
    return spread([turn[which] / turn[to] for turn in turns])


def cells(name: str, times: Times, digits: int = 3) -> dict[str, str]:
    """As columns of a row."""
    names = (name, f"{name}_low", f"{name}_high")
    return {key: f"{x:.{digits}f}" for key, x in zip(names, times, strict=True)}


def seconds(work: Callable[[], Any]) -> float:
    """Until its arrays are there."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def in_turns(*works: Callable[[], Any]) -> list[tuple[float, ...]]:
    """Seconds of each, one after the other `REPEATS` times after a first time.

    Every second turn goes backwards, so that none always comes after the same other.
    """
    runs = []
    for turn in range(1 + REPEATS):
        order = -1 if turn % 2 else 1
        runs.append(tuple([seconds(work) for work in works[::order]][::order]))
    return runs[1:]


Start = Callable[[], Callable[[], Any]]
"""Allocates what a work needs, and returns the work: compiled before, timed after."""


def in_threads(works: Sequence[Callable[[], T]]) -> list[Future[T]]:
    """All done, or failed, when it returns: XLA compiles while others run in Python."""
    with ThreadPoolExecutor(origin.cores()) as pool:
        return [pool.submit(work) for work in works]


def repeated(
    function: Callable[..., Any],
    carry: tuple[Any, ...],
    constants: tuple[Any, ...] = (),
) -> Callable[[], Any]:
    """Each call takes what the last one returned, whose buffers it is given."""
    kept = [carry]

    def work() -> Any:
        kept[:] = [function(*kept[0], *constants)]
        return kept[0]

    return work


def shown(row: Mapping[str, str], name: str) -> str:
    """The columns that `cells` made, in a table."""
    if row[name] == "-":
        return "-"
    return f"{row[name]} ({row[f'{name}_low']} to {row[f'{name}_high']})"
