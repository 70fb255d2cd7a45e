"""Compile updates ahead of time and count what their programs move."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from benchmarks.costs.traffic import hlo
from benchmarks.costs.traffic.budgets import (
    BUDGETS,
    COPIES,
    DIGITS,
    INT16_BUDGETS,
    OUTER_BUDGETS,
    UNALIASED,
    Budget,
)
from benchmarks.costs.traffic.targets import Target, devices
from benchmarks.costs.traffic.updates import COUNTED, Update
from benchmarks.costs.trees import TREES, Tree, size

REPEATS = 3


class Traffic(NamedTuple):
    """What one update costs, in arrays of the size of the parameters.

    Attributes:
      platform: the target's platform.
      chip: the target's chip.
      tree: the name of the parameters in `TREES`.
      optimizer: the name of the update in `COUNTED`.
      ordinary: arrays read and written on a step that keeps the anchor.
      anchoring: arrays read and written on a step that takes the anchor anew; None for
        an update without an anchor.
      temporaries: the largest memory in use for intermediate results.
      unaliased: outputs that do not take the place of a donated argument.
      copies: arrays copied on a step that keeps the anchor.
      kernels: kernels and copies that a GPU launches on a step that keeps the anchor;
        None on another platform.
      anchoring_kernels: the same on a step that takes the anchor anew.
    """

    platform: str
    chip: str
    tree: str
    optimizer: str
    ordinary: float
    anchoring: float | None
    temporaries: float
    unaliased: float
    copies: int
    kernels: int | None = None
    anchoring_kernels: int | None = None


def measure(target: Target, tree_name: str, name: str) -> Traffic:
    """Compile an update for a target and count what it moves."""
    tree = TREES[tree_name]()
    sharding = SingleDeviceSharding(devices(target)[0])
    compiled = compile_update(COUNTED[name], tree, lambda spec: sharding)
    module = hlo.parse(compiled.as_text())
    memory: Any = compiled.memory_analysis()
    unit, anchors = size(tree), module.has_branches()
    on_gpu = target.platform == "cuda"
    return Traffic(
        target.platform,
        target.chip,
        tree_name,
        name,
        module.step(0).bytes / unit,
        module.step(1).bytes / unit if anchors else None,
        memory.temp_size_in_bytes / unit,
        (memory.output_size_in_bytes - memory.alias_size_in_bytes) / unit,
        module.step(0).copies,
        module.launches(0) if on_gpu else None,
        module.launches(1) if on_gpu and anchors else None,
    )


def budget(platform: str, name: str) -> tuple[float, ...] | None:
    """Return how many arrays an update may move, or None where that is not limited.

    A bare optimizer has one limit, ours one for each kind of step.
    """
    kind, limits = COUNTED[name].kind, all_limits(platform, name)
    if kind == "peer":
        return None
    return (limits.bare,) if kind == "bare" else (limits.ordinary, limits.anchoring)


def all_limits(platform: str, name: str) -> Budget:
    """Return the budget of the bare optimizer that an update has as its base."""
    update = COUNTED[name]
    kinds = {"whole": BUDGETS, "int16": INT16_BUDGETS, "outer": OUTER_BUDGETS}
    return kinds[update.anchor][platform, update.base]


def is_within(row: Traffic) -> bool | None:
    """Tell whether an update keeps its budget; None for one without a budget."""
    limits = budget(row.platform, row.optimizer)
    if limits is None:
        return None
    steps = (row.ordinary, row.anchoring)[: len(limits)]
    most = all_limits(row.platform, row.optimizer)
    launched = row.kernels if COUNTED[row.optimizer].kind == "ours" else None
    return (
        None not in steps
        and all(round(x or 0, DIGITS) <= n for x, n in zip(steps, limits, strict=True))
        and round(row.temporaries, DIGITS) <= most.temporaries
        and round(row.unaliased, DIGITS) <= UNALIASED
        and row.copies <= COPIES
        and (launched is None or launched <= most.kernels)
    )


def compile_update(
    counted: Update,
    tree: Tree,
    sharding: Callable[[PartitionSpec], jax.sharding.Sharding],
    specs: dict[str, PartitionSpec] | None = None,
) -> jax.stages.Compiled:
    """Compile one step of an update, with parameters and state donated.

    Args:
      counted: the update.
      tree: the parameters.
      sharding: places an array of the partition that it is given.
      specs: the partition of each of the parameters; None splits nothing.
    """
    optimizer = counted.make()
    params = jax.eval_shape(counted.start, tree)
    state = jax.eval_shape(optimizer.init, params)

    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    placed: Any = sharding(PartitionSpec())
    out: Any = placed
    if specs is not None:
        split = {name: sharding(spec) for name, spec in specs.items()}
        of_state = optax.tree_map_params(
            optimizer,
            lambda _, leaf: leaf,
            state,
            split,
            transform_non_params=lambda _: sharding(PartitionSpec()),
        )
        placed, out = (split, of_state, split), (split, of_state)
    jitted = jax.jit(
        update, donate_argnums=(0, 1), in_shardings=placed, out_shardings=out
    )
    return jitted.lower(params, state, tree).compile()


def collectives(target: Target, tree_name: str, name: str) -> tuple[set[str], set[str]]:
    """Return the collectives of an update that is split over a target's devices.

    The first set is of a step that keeps the anchor, the second of one that takes it.
    """
    tree, chips = TREES[tree_name](), devices(target)
    mesh = Mesh(chips, ("data",))
    compiled = compile_update(
        COUNTED[name],
        tree,
        lambda spec: NamedSharding(mesh, spec),
        {leaf: longest(x.shape, len(chips)) for leaf, x in tree.items()},
    )
    module = hlo.parse(compiled.as_text())
    return module.collectives(0), module.collectives(1)


def longest(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """Return the partition of the longest axis that so many devices split evenly."""
    axes = [i for i, n in enumerate(shape) if n % parts == 0]
    if not axes:
        return PartitionSpec()
    best = max(axes, key=lambda i: shape[i])
    return PartitionSpec(*("data" if i == best else None for i in range(len(shape))))


def compile_ratio(target: Target, tree_name: str, name: str) -> tuple[float, float]:
    """Return how much longer an update takes to trace and compile than its base.

    The second number is the time of the base in seconds. Both are medians of
    interleaved runs, after one that warms up. The time is the processor's, so that
    other work on the machine hardly counts.
    """
    tree = TREES[tree_name]()
    sharding = SingleDeviceSharding(devices(target)[0])
    seconds: dict[str, list[float]] = {COUNTED[name].base: [], name: []}
    for _ in range(1 + REPEATS):
        for each, times in seconds.items():
            began = time.process_time()
            compile_update(COUNTED[each], tree, lambda spec: sharding)
            times.append(time.process_time() - began)
    bare, ours = (statistics.median(times[1:]) for times in seconds.values())
    return ours / bare, bare
