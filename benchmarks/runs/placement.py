"""Where replicas are trained: in blocks, one after the other on each device."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.experiments import Experiment
from benchmarks.runs import grid

BLOCKS, WHOLE = PartitionSpec("blocks"), PartitionSpec()
"""How an array lies on the devices: a part on each, or a copy on each."""


class Round(NamedTuple):
    """The blocks that the devices train at the same time, one on each.

    Attributes:
      seeds: of the blocks, one block after the other: indices, shape (devices * k,).
      trials: of the blocks, one block after the other: indices, shape (devices * l,).
      columns: of each row of the blocks its trials: indices, shape (devices * k, l).
    """

    seeds: np.ndarray
    trials: np.ndarray
    columns: np.ndarray

    @property
    def where(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the blocks' replicas among all seeds and trials."""
        return self.seeds[:, np.newaxis], self.columns


@dataclass(frozen=True)
class Placement:
    """How the replicas of each optimizer, seeds x trials, are spread over devices.

    A block is what a device trains at once. A round has a block for each device. Where
    seeds, trials or blocks do not suffice, the last ones are trained again.

    Attributes:
      mesh: the devices, on one axis.
      seeds: the number of seeds.
      trials: the number of trials.
      block: the numbers of seeds and of trials in a block.
    """

    mesh: Mesh
    seeds: int
    trials: int
    block: tuple[int, int]

    @cached_property
    def rounds(self) -> list[Round]:
        """List the rounds; together they have every replica."""
        rows = cut(self.seeds, self.block[0])
        blocks = [*itertools.product(rows, cut(self.trials, self.block[1]))]
        size = self.mesh.size
        blocks += blocks[-1:] * (-len(blocks) % size)
        return [
            round_of(blocks[first : first + size])
            for first in range(0, len(blocks), size)
        ]

    def narrowed(self, seeds: int, trials: int) -> "Placement":
        """Return the placement of fewer seeds and trials, on the same devices.

        On a CPU the blocks stay, so that the same compiled program serves, unless more
        than half of one would be repeats: then it has several seeds. So do those of one
        replica.
        """
        block = self.block
        if self.mesh.devices.flat[0].platform != "cpu" and block != (1, 1):
            block = largest_block(seeds, trials, self.mesh.size)
        elif (together := block[1] // trials) > 1:
            block = min(together, seeds), trials
        return replace(self, seeds=seeds, trials=trials, block=block)

    def with_one_trial(self) -> "Placement":
        """Return the placement of as many seeds of one trial, on the same devices."""
        return replace(self, trials=1, block=(self.block[0], 1))

    def over_blocks(
        self, function: Callable[..., Any], *inputs: PartitionSpec
    ) -> Callable[..., Any]:
        """Let each device apply a function to its part of the inputs.

        `inputs` says of each input whether a device gets a part of it or all of it.
        """
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=inputs,
            out_specs=BLOCKS,
            check_vma=False,  # no device needs anything of another one
        )

    def put(self, tree: Any, spec: PartitionSpec) -> Any:
        """Put arrays on the devices."""
        return jax.device_put(tree, NamedSharding(self.mesh, spec))

    def inputs(self, numbers: Any, seeds: np.ndarray) -> list[tuple[Any, jax.Array]]:
        """Return the numbers of all trials, and all seeds, as those of each round."""
        return [
            self.put(
                (
                    jax.tree.map(lambda x, r=each: x[r.trials], numbers),
                    seeds[each.seeds],
                ),
                BLOCKS,
            )
            for each in self.rounds
        ]

    def shapes(self, tree: Any) -> Any:
        """Return the shapes and dtypes of the arrays of a round, on the devices."""
        sharding = NamedSharding(self.mesh, BLOCKS)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    def spread(self, tree: Any) -> list[Any]:
        """Return arrays of (seeds, trials, ...) as the arrays of each round."""
        return [
            self.put(jax.tree.map(lambda x, r=each: x[r.where], tree), BLOCKS)
            for each in self.rounds
        ]

    def fetch(self, rounds: Sequence[Any]) -> Any:
        """Return arrays of (seeds, trials, ...) on the host from those of each round.

        The first process alone may look at them, but all have to call this.
        """

        def whole(*parts: jax.Array) -> np.ndarray:
            shape = self.seeds, self.trials, *parts[0].shape[2:]
            found = np.empty(shape, parts[0].dtype)
            for each, part in zip(self.rounds, parts, strict=True):
                found[each.where] = multihost_utils.process_allgather(part, tiled=True)
            return found

        return jax.tree.map(whole, *rounds)


def cut(number: int, size: int) -> np.ndarray:
    """Return the indices below `number` in rows of `size`; the last one fills up."""
    indices = np.arange(-(-number // size) * size).reshape(-1, size)
    return np.minimum(indices, number - 1)


def round_of(blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> Round:
    """Return a round of blocks, each the indices of its seeds and of its trials."""
    seeds, trials = zip(*blocks, strict=True)
    columns = np.repeat(np.stack(trials), len(seeds[0]), axis=0)
    return Round(np.concatenate(seeds), np.concatenate(trials), columns)


def place(experiment: Experiment, devices: Sequence[jax.Device]) -> Placement:
    """Spread the replicas of an experiment over devices, the fewest that suffice.

    A GPU trains its share at once, which fills it. A core of a CPU is faster with a few
    trials of one seed at a time. There a block is the same on any number of devices, so
    that its numbers are the same bits. A large experiment has blocks of one replica.
    """
    seeds, trials = numbers(experiment)
    if experiment.large:
        block = 1, 1
    elif devices[0].platform == "cpu":
        optimizers = len(grid.programs(experiment)[0].optimizers)
        most = max(1, experiment.at_once // optimizers)
        block = 1, -(-trials // -(-trials // most))
    else:
        block = largest_block(seeds, trials, len(devices))
    blocks = -(-seeds // block[0]) * -(-trials // block[1])
    needed = -(-blocks // -(-blocks // len(devices)))
    of_each = -(-needed // jax.process_count())
    own = [
        [device for device in devices if device.process_index == process][:of_each]
        for process in range(jax.process_count())
    ]
    return Placement(Mesh(np.concatenate(own), ("blocks",)), seeds, trials, block)


def largest_block(seeds: int, trials: int, devices: int) -> tuple[int, int]:
    """Return the numbers of seeds and trials of a block, one block for each device.

    They are the fewest that leave nothing to a second round.
    """
    ways = [
        (-(-seeds // a), -(-trials // b))
        for a in range(1, devices + 1)
        for b in range(1, devices // a + 1)
    ]
    return min(ways, key=lambda block: (block[0] * block[1], block[0]))


def on_one_device(experiment: Experiment) -> Placement:
    """Let one device train all replicas of an experiment at once."""
    block = numbers(experiment)
    return Placement(Mesh(jax.local_devices()[:1], ("blocks",)), *block, block)


def numbers(experiment: Experiment) -> tuple[int, int]:
    """Return the numbers of seeds and of trials, the same for every optimizer."""
    return experiment.seeds, len(grid.labels(experiment, experiment.optimizers[0]))
