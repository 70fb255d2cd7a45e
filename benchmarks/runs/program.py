"""A compiled program: its lanes, the epoch that trains them, their evaluation."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.experiments import Experiment
from benchmarks.runs import checkpoint, grid
from benchmarks.runs.checkpoint import Position
from benchmarks.runs.grid import Program
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop, vectors
from benchmarks.training.noise import perturb

MEMORY_USED = 0.8  # of the device's, by one program at most

Scores = Callable[[str, loop.Lane, Any], dict[str, jax.Array]]


class Built(NamedTuple):
    """A program ready to run.

    Attributes:
      start: makes the lanes as they stand.
      advance: (lanes, number of the epoch, first step) -> lanes after that part of the
        epoch; consumes its lanes.
      weights: (optimizer, its lanes) -> the networks to evaluate: parameters by player
        and statistics.
      evaluate: (optimizer, its lanes, split) -> measures of shape (s, l).
      seconds: to compile a part of an epoch.
    """

    start: Callable[[], dict[str, loop.Lane]]
    advance: Callable[[dict[str, loop.Lane], int, int], dict[str, loop.Lane]]
    weights: Callable[[str, loop.Lane], tuple[dict[str, Any], Any]]
    evaluate: Scores
    seconds: float


def build(
    experiment: Experiment,
    data_set: DataSet,
    program: Program,
    folder: Path,
    position: Position,
    score: loop.Evaluate,
) -> Built:
    """Compile a program, whose lanes go on from the start or from the checkpoint.

    `score` is `make_score`'s, one for all programs, to be compiled once.
    """
    examples = experiment.problem.examples(data_set)
    task = experiment.problem.task(data_set, program.batch_size)
    back: vectors.Back = vectors.as_they_are
    if experiment.together:
        task, back = vectors.as_vectors(task)
    steps = grid.total_steps(experiment, examples, program.batch_size)
    methods = grid.methods(experiment, program, steps)
    trials = {
        name: {
            key: jnp.asarray(values, jnp.float32)
            for key, values in grid.trials(experiment, name).items()
        }
        for name in program.optimizers
    }
    seeds = experiment.first_seed + jnp.arange(experiment.seeds)
    part = grid.parts(experiment, examples, program.batch_size).step
    init = jax.jit(lambda trials, seeds: loop.init_lanes(task, methods, trials, seeds))
    like = jax.eval_shape(init, trials, seeds)

    def compile_epoch(at_once: int | None) -> jax.stages.Compiled:
        noise = perturb(program.noise)
        epoch = loop.make_epoch(task, methods, noise, at_once, part)
        jitted, zero = jax.jit(epoch, donate_argnums=0), jnp.int32(0)
        return jitted.lower(like, data_set.train, trials, seeds, zero, zero).compile()

    began = time.perf_counter()
    most = sum(len(x["learning_rate"]) for x in trials.values())
    compiled = compile_to_fit(compile_epoch, most, MEMORY_USED * memory())
    seconds = time.perf_counter() - began

    def advance(
        lanes: dict[str, loop.Lane], number: int, first: int
    ) -> dict[str, loop.Lane]:
        when = jnp.int32(number), jnp.int32(first)
        return compiled(lanes, data_set.train, trials, seeds, *when)

    def weights(name: str, lane: loop.Lane) -> tuple[dict[str, Any], Any]:
        evaluated = jax.vmap(jax.vmap(methods[name].evaluated))
        states = lane.opt_state
        of = {player: evaluated(x, states[player]) for player, x in lane.params.items()}
        return back(of, lane.stats)

    def evaluate(name: str, lane: loop.Lane, split: Any) -> dict[str, jax.Array]:
        return score(*weights(name, lane), split)

    def start() -> dict[str, loop.Lane]:
        if position > Position(position.program, 0):
            lanes: dict[str, loop.Lane] = checkpoint.load(folder, position, like)
            return lanes
        return init(trials, seeds)

    return Built(start, advance, weights, evaluate, seconds)


def make_score(experiment: Experiment, data_set: DataSet) -> loop.Evaluate:
    """How networks are evaluated, whatever trained them."""
    return loop.make_evaluate(experiment.problem.task(data_set, batch_size=1))


def compile_to_fit(
    compile_epoch: Callable[[int | None], Any], trials: int, limit: float
) -> Any:
    """The epoch with as many trials at once as fit into `limit` bytes, by halving."""
    at_once = None
    while True:
        compiled = compile_epoch(at_once)
        if at_once == 1 or needed(compiled) <= limit:
            return compiled
        at_once = -(-(at_once or trials) // 2)


def needed(compiled: Any) -> int:
    """Bytes of the device's memory that a compiled function takes."""
    m = compiled.memory_analysis()
    arguments: int = m.argument_size_in_bytes
    return (
        arguments
        + m.output_size_in_bytes
        + m.temp_size_in_bytes
        - m.alias_size_in_bytes
    )


def memory() -> int:
    """Bytes of the device's memory, in all: the same in every run on a machine."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
