"""Lanes as processes of their own, each on its core, instead of one program."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

from benchmarks.experiments import Experiment
from benchmarks.speed import lanes, timing


def speed(one: Experiment, data_dir: Path | None, cores: list[int]) -> timing.Times:
    """Examples a second of all processes, which train a lane each at the same time."""
    spawn = multiprocessing.get_context("spawn")
    together, found = spawn.Barrier(len(cores)), spawn.Queue()
    processes = [
        spawn.Process(target=train, args=(one, data_dir, core, together, found))
        for core in cores
    ]
    for process in processes:
        process.start()
    rates = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return timing.spread([sum(now) for now in zip(*rates, strict=True)])


def train(
    one: Experiment, data_dir: Path | None, core: int, together: Any, found: Any
) -> None:
    """In a process of its own: puts the examples a second of each part into `found`."""
    os.sched_setaffinity(0, {core})  # before jax looks how many there are
    timed = lanes.work(one, one.problem.load(data_dir))
    timing.seconds(timed.call)
    rates, examples = [], timed.steps * one.batch_sizes[0]
    for _ in range(timing.REPEATS):
        together.wait()
        rates.append(examples / timing.seconds(timed.call))
    found.put(rates)
