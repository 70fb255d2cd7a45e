"""Updates compiled ahead of time, and what their programs cost."""

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
    UNALIASED,
    Budget,
)
from benchmarks.costs.traffic.methods import METHODS, Method
from benchmarks.costs.traffic.targets import Target, devices
from benchmarks.costs.trees import TREES, Tree, size

REPEATS = 3


class Row(NamedTuple):
    """What one update costs, in arrays of the size of the parameters.

    Attributes:
      platform: of the target.
      chip: of the target.
      tree: the parameters.
      optimizer: the update.
      ordinary: read and written on a step that keeps the anchor.
      anchoring: the same where the anchor is taken; None without branches.
      temporaries: the largest memory in use for intermediate results.
      unaliased: outputs that do not take the place of a donated argument.
      copies: arrays copied on an ordinary step.
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


def measure(target: Target, tree_name: str, name: str) -> Row:
    """Compile an update for a target and count."""
    tree = TREES[tree_name]()
    sharding = SingleDeviceSharding(devices(target)[0])
    compiled = compile_update(METHODS[name], tree, lambda spec: sharding)
    program = hlo.parse(compiled.as_text())
    memory: Any = compiled.memory_analysis()
    unit, anchors = size(tree), program.has_branches()
    return Row(
        target.platform,
        target.chip,
        tree_name,
        name,
        program.step(0).bytes / unit,
        program.step(1).bytes / unit if anchors else None,
        memory.temp_size_in_bytes / unit,
        (memory.output_size_in_bytes - memory.alias_size_in_bytes) / unit,
        program.step(0).copies,
    )


def budget(platform: str, name: str) -> tuple[float, ...] | None:
    """Arrays it may move: a bare optimizer's step, or both kinds of ours."""
    kind, limits = METHODS[name].kind, all_limits(platform, name)
    if kind == "peer":
        return None
    return (limits.bare,) if kind == "bare" else (limits.ordinary, limits.anchoring)


def all_limits(platform: str, name: str) -> Budget:
    """Those of its base."""
    method = METHODS[name]
    return (INT16_BUDGETS if method.int16 else BUDGETS)[platform, method.base]


def is_within(row: Row) -> bool | None:
    """Whether an update keeps its budget; None for those without one."""
    limits = budget(row.platform, row.optimizer)
    if limits is None:
        return None
    steps = (row.ordinary, row.anchoring)[: len(limits)]
    return (
        None not in steps
        and all(round(x or 0, DIGITS) <= n for x, n in zip(steps, limits, strict=True))
        and round(row.temporaries, DIGITS)
        <= all_limits(row.platform, row.optimizer).temporaries
        and round(row.unaliased, DIGITS) <= UNALIASED
        and row.copies <= COPIES
    )


def compile_update(
    method: Method,
    tree: Tree,
    sharding: Callable[[PartitionSpec], jax.sharding.Sharding],
    specs: dict[str, PartitionSpec] | None = None,
) -> jax.stages.Compiled:
    """One update of donated params and state; ``specs`` tell how the tree is split."""
    optimizer = method.make()
    params = jax.eval_shape(method.start, tree)
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
    """Collectives of an update whose arrays are split over the devices of a target.

    On a step that keeps the anchor, and on one that takes it.
    """
    tree, chips = TREES[tree_name](), devices(target)
    mesh = Mesh(chips, ("data",))
    compiled = compile_update(
        METHODS[name],
        tree,
        lambda spec: NamedSharding(mesh, spec),
        {leaf: longest(x.shape, len(chips)) for leaf, x in tree.items()},
    )
    program = hlo.parse(compiled.as_text())
    return program.collectives(0), program.collectives(1)


def longest(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """Split the longest axis that can be split evenly."""
    axes = [i for i, n in enumerate(shape) if n % parts == 0]
    if not axes:
        return PartitionSpec()
    best = max(axes, key=lambda i: shape[i])
    return PartitionSpec(*("data" if i == best else None for i in range(len(shape))))


def compile_ratio(target: Target, tree_name: str, name: str) -> tuple[float, float]:
    """Time to trace and compile over that of the bare optimizer, and that, in seconds.

    Of the processor, so that other work on the machine hardly counts; medians of runs
    that take turns, after one that warms up.
    """
    tree = TREES[tree_name]()
    sharding = SingleDeviceSharding(devices(target)[0])
    seconds: dict[str, list[float]] = {METHODS[name].base: [], name: []}
    for _ in range(1 + REPEATS):
        for each, times in seconds.items():
            began = time.process_time()
            compile_update(METHODS[each], tree, lambda spec: sharding)
            times.append(time.process_time() - began)
    bare, ours = (statistics.median(times[1:]) for times in seconds.values())
    return ours / bare, bare
