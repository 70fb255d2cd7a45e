"""A compiled program: how it starts, trains a part of an epoch and is evaluated."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.experiments import Experiment
from benchmarks.optimizers.method import Method
from benchmarks.runs import grid
from benchmarks.runs.grid import Program
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop, vectors
from benchmarks.training.noise import perturb

MEMORY_USED = 0.8  # of the device's, by one program at most

Scores = Callable[[str, loop.Lane, Any], dict[str, jax.Array]]
"""From an optimizer, its lanes and a split to measures of shape (seeds, trials)."""


@dataclass(frozen=True)
class Built:
    """A program that is compiled and ready to run.

    Attributes:
      methods: its optimizers by name.
      inputs: train split, numbers of the trials and seeds, as the epoch takes them.
      start: makes the lanes before their first step.
      like: the shapes and dtypes of the lanes.
      epoch: the compiled part of an epoch.
      to_arrays: makes the networks' arrays of what the lanes hold.
      evaluate_networks: see `make_evaluate`.
      seconds: that it took to compile the part of an epoch.
    """

    methods: Mapping[str, Method]
    inputs: tuple[Any, loop.AllNumbers, jax.Array]
    start: Callable[[], loop.Lanes]
    like: Any
    epoch: jax.stages.Compiled
    to_arrays: vectors.Back
    evaluate_networks: loop.Evaluate
    seconds: float

    def advance(self, lanes: loop.Lanes, epoch_number: int, first: int) -> loop.Lanes:
        """Train a part of an epoch from its first step on; the lanes are consumed."""
        when = jnp.int32(epoch_number), jnp.int32(first)
        after: loop.Lanes = self.epoch(lanes, *self.inputs, *when)
        return after

    def weights(self, name: str, lane: loop.Lane) -> tuple[dict[str, Any], Any]:
        """Return an optimizer's networks: parameters by player, and statistics."""
        evaluated = jax.vmap(jax.vmap(self.methods[name].evaluated))
        params = {
            player: evaluated(own, lane.opt_state[player])
            for player, own in lane.params.items()
        }
        return self.to_arrays(params, lane.stats)

    def evaluate(self, name: str, lane: loop.Lane, split: Any) -> dict[str, jax.Array]:
        """Measure an optimizer's networks on a split."""
        return self.evaluate_networks(*self.weights(name, lane), split)


def build(
    experiment: Experiment,
    data_set: DataSet,
    program: Program,
    evaluate_networks: loop.Evaluate,
) -> Built:
    """Compile a program.

    `evaluate_networks` is `make_evaluate`'s: one for all programs, compiled once.
    """
    task = experiment.problem.task(data_set, program.batch_size)
    to_arrays: vectors.Back = vectors.as_they_are
    if experiment.together:
        task, to_arrays = vectors.as_vectors(task)
    examples = experiment.problem.examples(data_set)
    steps = grid.total_steps(experiment, examples, program.batch_size)
    methods = grid.methods(experiment, program, steps)
    numbers = jax.tree.map(jnp.asarray, grid.number_arrays(experiment, program))
    seeds = experiment.first_seed + jnp.arange(experiment.seeds)
    init = jax.jit(partial(loop.init_lanes, task, methods))
    like = jax.eval_shape(init, numbers, seeds)
    inputs = data_set.train, numbers, seeds
    part = grid.parts(experiment, examples, program.batch_size).step
    train = partial(
        loop.epoch, task, methods, perturb=perturb(program.noise), part=part
    )

    def compile_epoch(at_once: int | None) -> jax.stages.Compiled:
        jitted = jax.jit(partial(train, at_once=at_once), donate_argnums=0)
        return jitted.lower(like, *inputs, jnp.int32(0), jnp.int32(0)).compile()

    began = time.perf_counter()
    trials = sum(len(x["learning_rate"]) for x in numbers.values())
    compiled = compile_to_fit(compile_epoch, trials, MEMORY_USED * device_memory())
    seconds, start = time.perf_counter() - began, partial(init, numbers, seeds)
    networks = to_arrays, evaluate_networks
    return Built(methods, inputs, start, like, compiled, *networks, seconds)


def make_evaluate(experiment: Experiment, data_set: DataSet) -> loop.Evaluate:
    """Return the function that evaluates networks, whatever trained them."""
    return loop.evaluator(experiment.problem.task(data_set, batch_size=1))


def compile_to_fit(
    compile_epoch: Callable[[int | None], Any], trials: int, limit: float
) -> Any:
    """Compile with as many trials at once as fit into `limit` bytes, by halving."""
    at_once = None
    while True:
        compiled = compile_epoch(at_once)
        if at_once == 1 or bytes_needed(compiled) <= limit:
            return compiled
        at_once = -(-(at_once or trials) // 2)


def bytes_needed(compiled: Any) -> int:
    """Return the bytes of the device's memory that a compiled function takes."""
    m = compiled.memory_analysis()
    made: int = m.output_size_in_bytes + m.temp_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes + made


def device_memory() -> int:
    """Return the bytes of all the device's memory: the same in every run on it."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
