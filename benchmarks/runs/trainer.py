"""The replicas of an experiment on the devices of all processes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import numpy as np

from benchmarks.experiments import Experiment
from benchmarks.runs import grid, hosts, program
from benchmarks.runs.placement import WHOLE, Placement, place
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop

P = ParamSpec("P")
R = TypeVar("R")


def by_all(
    method: Callable[Concatenate["Trainer", P], R],
) -> Callable[Concatenate["Trainer", P], R]:
    """Let the other processes call a method too when the first one does."""

    @wraps(method)
    def call(trainer: "Trainer", /, *arguments: P.args, **named: P.kwargs) -> R:
        hosts.tell((method.__name__, arguments, named))
        return method(trainer, *arguments, **named)

    return call


class Trainer:
    """Trains and evaluates the replicas of one program after the other.

    What it returns lies on the host, stacked on (seed, trial).

    Attributes:
      placement: which device trains what of the program.
      built: the program that was compiled last.
    """

    placement: Placement
    built: program.Built
    lanes: list[loop.Lanes]

    def __init__(
        self, experiment: Experiment, data_set: DataSet, devices: Sequence[jax.Device]
    ):
        self.experiment, self.data_set = experiment, data_set
        self.whole = place(experiment, devices)
        self.evaluate_networks = program.make_evaluate(experiment, data_set, self.whole)

    @cached_property
    def splits(self) -> dict[str, Any]:
        """Return what networks are evaluated on, on every device."""
        splits = {"validation": self.data_set.validation, "test": self.data_set.test}
        return {name: self.whole.put(x, WHOLE) for name, x in splits.items()}

    def follow(self) -> None:
        """Do what the first process does with its trainer, until it ends."""
        while (message := hosts.heard()) is not None:
            name, arguments, named = message
            getattr(self, name)(*arguments, **named)

    @by_all
    def build(self, number: int, trials: tuple[int, ...]) -> None:
        """Compile a program of the experiment, for some of its trials."""
        which = replace(grid.programs(self.experiment)[number], trials=trials)
        self.placement = self.whole.narrowed(len(which.seeds), len(trials))
        before = getattr(self, "built", None)
        self.built = program.build(
            self.experiment, self.data_set, which, self.placement, before
        )

    @by_all
    def start(self) -> None:
        """Make the lanes before their first step."""
        self.lanes = self.built.start()

    @by_all
    def restore(self, lanes: loop.Lanes) -> None:
        """Go on with lanes that `fetch` returned, on whatever devices."""
        self.lanes = self.placement.spread(lanes)

    @by_all
    def advance(self, epoch: int, first: int) -> None:
        """Train a part of an epoch from its first step on."""
        self.lanes = self.built.advance(self.lanes, epoch, first)
        jax.block_until_ready(self.lanes)

    @by_all
    def fetch(self) -> loop.Lanes:
        """Return the lanes."""
        lanes: loop.Lanes = self.placement.fetch(self.lanes)
        return lanes

    @by_all
    def measured(self) -> loop.Lanes:
        """Return lanes that hold what training measured, and no networks."""

        def without_networks(lane: loop.Lane) -> loop.Lane:
            return lane._replace(params={}, stats=(), opt_state={})

        measured: loop.Lanes = self.placement.fetch(
            [
                {name: without_networks(lane) for name, lane in each.items()}
                for each in self.lanes
            ]
        )
        return measured

    @by_all
    def networks(self, name: str) -> program.Networks:
        """Return an optimizer's networks: parameters by player, and statistics."""
        networks: program.Networks = self.placement.fetch(
            self.built.networks(name, self.lanes)
        )
        return networks

    @by_all
    def evaluate(
        self, name: str, split: str, trial: int | None = None
    ) -> dict[str, np.ndarray]:
        """Measure an optimizer's networks on a split, of all trials or of one."""
        networks, placement = self.built.networks(name, self.lanes), self.placement
        if trial is not None and placement.trials > 1:
            of_trial = slice(trial, trial + 1)
            chosen = jax.tree.map(lambda x: x[:, of_trial], placement.fetch(networks))
            placement = placement.with_one_trial()
            networks = placement.spread(chosen)
        found: dict[str, np.ndarray] = placement.fetch(
            [self.evaluate_networks(*each, self.splits[split]) for each in networks]
        )
        return found
