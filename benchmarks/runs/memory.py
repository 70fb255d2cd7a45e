"""The memory that a run holds, counted from shapes: nothing is compiled or read."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax

from benchmarks.experiments import Experiment
from benchmarks.runs import grid
from benchmarks.runs.grid import Program
from benchmarks.runs.program import nbytes
from benchmarks.training import loop, vectors


def bytes_held(experiment: Experiment) -> int:
    """Return the bytes that the replicas of an experiment's largest program hold.

    Those are its networks, what their optimizers keep, and a gradient of each, of a
    large experiment of one. Only the smallest batch is asked: there an optimizer that
    accumulates gradients keeps most.
    """
    smallest = min(experiment.batch_sizes)
    programs = grid.programs(replace(experiment, batch_sizes=(smallest,)))
    most = max(map(replicas, programs))
    networks = shapes(experiment.problem, experiment.together)
    own = {each.optimizers: each for each in programs if replicas(each) == most}
    together = 1 if experiment.large else most
    each_of = (of_each(experiment, which, networks) for which in own.values())
    return max(most * held + together * gradients for held, gradients in each_of)


@cache
def shapes(problem: Any, together: bool) -> Any:
    """Return the shapes of a replica's networks, vectors where all train together.

    Several experiments have the same task, whose networks are asked for once.
    """
    params, stats = problem.abstract()
    if not together:
        return params, stats
    vector = partial(jax.eval_shape, vectors.to_vector)
    return {player: vector(own) for player, own in params.items()}, vector(stats)


def replicas(which: Program) -> int:
    """Return the number of replicas that each optimizer of a program has."""
    return len(which.seeds) * len(which.trials)


def of_each(experiment: Experiment, which: Program, networks: Any) -> tuple[int, int]:
    """Return the bytes that one replica of each optimizer holds, and its gradients'.

    They are made for a run of one step: their states have the same shapes in a longer.
    """
    held, gradients, numbers = 0, 0, grid.number_arrays(experiment, which)
    for name, method in grid.methods(experiment, which, steps=1).items():
        of_one = {key: values[0] for key, values in numbers[name].items()}
        start = partial(loop.init_lane, experiment.problem.measures, method)
        lane = jax.eval_shape(start, *networks, of_one)
        held += nbytes(lane)
        gradients += nbytes(lane.params)
    return held, gradients
