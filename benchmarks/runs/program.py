"""A compiled program: how it starts, trains a part of an epoch and is evaluated."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.experiments import Experiment
from benchmarks.optimizers.method import Method
from benchmarks.runs import grid
from benchmarks.runs.grid import Program
from benchmarks.runs.placement import BLOCKS, WHOLE, Placement
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop, vectors
from benchmarks.training.noise import perturb

MEMORY_USED = 0.8  # of a device's, by one program at most

Networks = tuple[dict[str, Any], Any]
"""Parameters by player, and statistics."""


@dataclass(frozen=True)
class Built:
    """A program that is compiled and ready to run.

    It trains in the rounds of a placement: lanes are a list with those of each.

    Attributes:
      which: the program.
      methods: its optimizers by name.
      data: the train split, on every device.
      inputs: numbers of the trials and seeds of each round, as the epoch takes them.
      init: makes the lanes of a round before their first step, from its inputs.
      like: the shapes and dtypes of all lanes, stacked on (seed, trial).
      epoch: the compiled part of an epoch, of a round.
      to_arrays: makes the networks' arrays of what the lanes hold.
      seconds: that it took to compile the part of an epoch.
    """

    which: Program
    methods: Mapping[str, Method]
    data: Any
    inputs: list[tuple[loop.AllNumbers, jax.Array]]
    init: Callable[..., loop.Lanes]
    like: loop.Lanes
    epoch: jax.stages.Compiled
    to_arrays: vectors.Back
    seconds: float

    def serves(self, other: Program, inputs: list[Any]) -> bool:
        """Say whether a program differs by its seeds and trials alone, and fits."""
        its, own = (
            (each.batch_size, each.noise, each.optimizers)
            for each in (other, self.which)
        )
        return its == own and shapes(inputs[0]) == shapes(self.inputs[0])

    def start(self) -> list[loop.Lanes]:
        """Return the lanes before their first step."""
        return [self.init(*each) for each in self.inputs]

    def advance(
        self, lanes: list[loop.Lanes], epoch_number: int, first: int
    ) -> list[loop.Lanes]:
        """Train a part of an epoch from its first step on; the lanes are consumed."""
        when = np.int32(epoch_number), np.int32(first)
        return [
            self.epoch(each, self.data, *inputs, *when)
            for each, inputs in zip(lanes, self.inputs, strict=True)
        ]

    def networks(self, name: str, lanes: list[loop.Lanes]) -> list[Networks]:
        """Return an optimizer's networks: parameters by player, and statistics."""
        evaluated = jax.vmap(jax.vmap(self.methods[name].evaluated))

        def of_round(lane: loop.Lane) -> Networks:
            params = {
                player: evaluated(own, lane.opt_state[player])
                for player, own in lane.params.items()
            }
            return self.to_arrays(params, lane.stats)

        return [of_round(each[name]) for each in lanes]


def build(
    experiment: Experiment,
    data_set: DataSet,
    program: Program,
    placement: Placement,
    before: Built | None = None,
) -> Built:
    """Compile a program for the devices of a placement.

    One that was built before, of the same experiment on the same devices, is used
    again where it differs by its seeds and trials alone.
    """
    numbers = grid.number_arrays(experiment, program)
    seeds = np.asarray(program.seeds, np.int32)
    inputs = placement.inputs(numbers, seeds)
    if before is not None and before.serves(program, inputs):
        runs = len(seeds), len(program.trials)
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*runs, *x.shape[2:]), x.dtype), before.like
        )
        return replace(before, which=program, inputs=inputs, like=like, seconds=0.0)
    task = experiment.problem.task(data_set, program.batch_size)
    to_arrays: vectors.Back = vectors.as_they_are
    if experiment.together:
        task, to_arrays = vectors.as_vectors(task)
    examples = experiment.problem.examples(data_set)
    steps = grid.total_steps(experiment, examples, program.batch_size)
    methods = grid.methods(experiment, program, steps)
    of_block = partial(loop.init_lanes, task, methods)
    init = jax.jit(placement.over_blocks(of_block, BLOCKS, BLOCKS))
    data = placement.put(data_set.train, WHOLE)
    part = grid.parts(experiment, examples, program.batch_size).step
    train = partial(
        loop.epoch, task, methods, perturb=perturb(program.noise), part=part
    )
    like = placement.shapes(jax.eval_shape(init, *inputs[0]))

    def compile_epoch(at_once: int | None) -> jax.stages.Compiled:
        over_blocks = placement.over_blocks(
            partial(train, at_once=at_once), BLOCKS, WHOLE, BLOCKS, BLOCKS, WHOLE, WHOLE
        )
        jitted = jax.jit(over_blocks, donate_argnums=0)
        zero = np.int32(0)
        return jitted.lower(like, data, *inputs[0], zero, zero).compile()

    began = time.perf_counter()
    trials = len(methods) * placement.block[1]
    others = (len(inputs) - 1) * nbytes(like) // placement.mesh.size
    limit = MEMORY_USED * device_memory(placement.mesh.local_mesh.size) - others
    compiled = compile_to_fit(compile_epoch, trials, limit)
    seconds = time.perf_counter() - began
    whole = jax.eval_shape(of_block, numbers, seeds)
    arrays = data, inputs, init, whole
    return Built(program, methods, *arrays, compiled, to_arrays, seconds)


def make_evaluate(
    experiment: Experiment, data_set: DataSet, placement: Placement
) -> loop.Evaluate:
    """Return the function that evaluates networks of a round, whatever trained them."""
    evaluate = loop.evaluator(experiment.problem.task(data_set, batch_size=1))
    over_blocks: loop.Evaluate = jax.jit(
        placement.over_blocks(evaluate, BLOCKS, BLOCKS, WHOLE)
    )
    return over_blocks


def shapes(tree: Any) -> list[tuple[int, ...]]:
    """Return the shapes of all arrays of a pytree."""
    return [x.shape for x in jax.tree.leaves(tree)]


def nbytes(tree: Any) -> int:
    """Return the bytes of all arrays of a pytree."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


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
    """Return the bytes of one device's memory that a compiled function takes."""
    m = compiled.memory_analysis()
    made: int = m.output_size_in_bytes + m.temp_size_in_bytes - m.alias_size_in_bytes
    return m.argument_size_in_bytes + made


def device_memory(sharing: int) -> int:
    """Return the bytes of a device's memory, the same in every run on it.

    On a CPU the devices of a process, `sharing` in number, share the host's.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // sharing
