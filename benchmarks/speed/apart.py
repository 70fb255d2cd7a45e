"""Runs as processes of their own, each on its core, instead of lanes of one program."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.experiments import Experiment
from benchmarks.speed import lanes, timing

TIMEOUT = 1800.0  # seconds, to compile and to measure

Train = Callable[[Experiment, Path | None], tuple[Callable[[], Any], int]]
"""From an experiment of one lane: a call that trains it, and the examples of a call."""


def in_jax(one: Experiment, data_dir: Path | None) -> tuple[Callable[[], Any], int]:
    work = lanes.work(one, one.problem.load(data_dir))
    return work.call, work.steps * one.batch_sizes[0]


def in_torch(one: Experiment, data_dir: Path | None) -> tuple[Callable[[], Any], int]:
    from benchmarks.speed import eager_training

    steps = lanes.steps(one, one.problem.load(data_dir))
    return eager_training.training(one, steps), steps * one.batch_sizes[0]


def speed(
    train: Train, one: Experiment, data_dir: Path | None, processes: int
) -> timing.Times:
    """Examples a second of all processes, which train at the same time."""
    spawn = multiprocessing.get_context("spawn")
    together, found = spawn.Barrier(processes), spawn.Queue()
    started = [
        spawn.Process(
            target=work, args=(train, one, data_dir, core, together, found), daemon=True
        )
        for core in range(processes)
    ]
    for process in started:
        process.start()
    rates = [found.get(timeout=TIMEOUT) for _ in started]
    for process in started:
        process.join()
    return timing.spread([sum(now) for now in zip(*rates, strict=True)])


def work(
    train: Train,
    one: Experiment,
    data_dir: Path | None,
    number: int,
    together: Any,
    found: Any,
) -> None:
    """In a process of its own: puts the examples a second of each call into `found`."""
    if hasattr(os, "sched_setaffinity"):  # before threads are counted
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
    call, examples = train(one, data_dir)
    timing.seconds(call)
    rates = []
    for _ in range(timing.REPEATS):
        together.wait(TIMEOUT)
        rates.append(examples / timing.seconds(call))
    found.put(rates)
