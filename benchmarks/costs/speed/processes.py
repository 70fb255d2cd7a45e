"""Runs as processes of their own, instead of replicas of one program."""

import contextlib
import multiprocessing
import os
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.costs import timing
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.records import origin

ON_A_GPU = 4  # processes
TIMEOUT = 1800.0  # seconds, for the others to compile

Train = Callable[[Experiment, Path | None], tuple[Callable[[], Any], int]]
"""From an experiment of one run: a call that trains it, and the examples of a call."""


def in_jax(one: Experiment, data_dir: Path | None) -> tuple[Callable[[], Any], int]:
    """Return a call that trains a run as the harness does, and its examples."""
    work = replicas.compile_training(one, one.problem.load(data_dir))
    return work.start(), work.examples


def in_torch(one: Experiment, data_dir: Path | None) -> tuple[Callable[[], Any], int]:
    """Return a call that trains a run in PyTorch, and its examples."""
    from benchmarks.costs.pytorch import training

    steps = replicas.timed_steps(one, one.problem.load(data_dir))
    return training.training_call(one, steps), steps * one.batch_sizes[0]


def number() -> int:
    """Return how many processes share the device: one a CPU core, 4 on a GPU."""
    on_cpu = jax.default_backend() == "cpu"
    return origin.cores() or 1 if on_cpu else ON_A_GPU


def speed(
    train: Train, one: Experiment, data_dir: Path | None, processes: int
) -> timing.Times:
    """Return examples a second of all processes, which train at the same time.

    Raises:
      RuntimeError: one of them failed.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # they share a GPU
    pinned = processes > 1 and jax.default_backend() == "cpu"
    spawn = multiprocessing.get_context("spawn")
    together, found = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(
            target=train_and_time,
            args=(train, one, data_dir, n if pinned else None, together, found),
            daemon=True,
        )
        for n in range(processes)
    ]
    for process in started:
        process.start()
    rates = [next_of(found, started) for _ in started]
    for process in started:
        process.join()
    return timing.spread([sum(now) for now in zip(*rates, strict=True)])


def next_of(found: Any, started: list[Any]) -> list[float]:
    """Wait for the rates of the next process to finish.

    Raises:
      RuntimeError: a process failed.
    """
    while not any(process.exitcode for process in started):
        with contextlib.suppress(queue.Empty):
            rates: list[float] = found.get(timeout=1.0)
            return rates
    raise RuntimeError("A process that was to be timed has failed; see above.")


def train_and_time(
    train: Train,
    one: Experiment,
    data_dir: Path | None,
    core: int | None,
    together: Any,
    found: Any,
) -> None:
    """Train in a process of its own; put the examples a second of each call in `found`.

    Args:
      train: makes the call that is timed.
      one: the experiment, of one run.
      data_dir: where the data set is.
      core: to run on; None leaves that to the system.
      together: a barrier at which all processes wait before each call.
      found: the queue of results.
    """
    if core is not None and hasattr(os, "sched_setaffinity"):  # before threads start
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    call, examples = train(one, data_dir)
    timing.seconds(call)
    rates = []
    for _ in range(timing.REPEATS):
        together.wait(TIMEOUT)
        rates.append(examples / timing.seconds(call))
    found.put(rates)
