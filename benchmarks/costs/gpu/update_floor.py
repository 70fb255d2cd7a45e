"""Time of an update over that of moving the bytes which it has to move.

Updates run in a loop inside one call, as in training, with donated params and state and
over whole periods. The floor is a kernel that reads and writes one array in place, as
often, of a size that makes it move as many bytes as the update must.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.costs import measurements, timing
from benchmarks.costs.traffic.budgets import BUDGETS
from benchmarks.costs.traffic.counted import COUNTED, PERIOD
from benchmarks.costs.trees import Tree, size
from benchmarks.runs.deadline import Deadline

FILE = "kernel.csv"
OPTIMIZERS = ("sgd", "trsgd", "trsgdw", "adam", "tradam", "tradamw")
DTYPES = ("float32", "bfloat16")
ALIGNED = 1024  # elements: XLA's copy of an odd number of them is slow on a GPU
UPDATES = 4 * PERIOD  # in a call
GUESS = 2.5  # seconds to compile one beside others, or to time it

Trees = Mapping[str, Callable[[], Tree]]


def cells(trees: Trees) -> list[tuple[str, str, str]]:
    """What is measured, in order: tree, dtype, optimizer."""
    return list(itertools.product(trees, DTYPES, OPTIMIZERS))


def run(folder: Path, trees: Trees, deadline: Deadline) -> bool:
    """Measure what is not measured yet; whether the deadline allowed all.

    All that is left is compiled first, side by side.
    """
    left = cells(trees)[len(measurements.read(folder / FILE)) :]
    deadline.last.setdefault("compile", GUESS * len(left))
    deadline.last.setdefault("measurement", GUESS)
    if left and not deadline.allows("compile", "measurement"):
        return False
    with deadline.timing("compile"):
        kernels = timing.in_threads(
            [partial(compiled, trees[tree](), dtype, x) for tree, dtype, x in left]
        )
    for (tree, dtype, name), kernel in zip(left, kernels, strict=True):
        if not deadline.allows("measurement"):
            return False
        print(f"kernel: {tree}, {dtype}, {name}", flush=True)
        with deadline.timing("measurement"):
            found = measure(kernel.result())
        measurements.add(
            folder / FILE, {"tree": tree, "dtype": dtype, "optimizer": name} | found
        )
    return True


class Kernel(NamedTuple):
    """An update and the floor of its time, compiled.

    Attributes:
      parameters: how many.
      arrays: of their size that are moved.
      moved: bytes.
      update: makes the updates.
      floor: makes the copies.
    """

    parameters: int
    arrays: float
    moved: float
    update: timing.Start
    floor: timing.Start


def compiled(tree: Tree, dtype: str, name: str) -> Kernel:
    shapes = {
        k: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)) for k, x in tree.items()
    }
    number, moved = sum(x.size for x in shapes.values()), arrays(name) * size(shapes)
    return Kernel(number, arrays(name), moved, updates(name, shapes), copies(moved))


def measure(kernel: Kernel) -> measurements.Row:
    """Of one update: microseconds and ratios to the floor, paired."""
    pairs = timing.in_turns(kernel.update(), kernel.floor())
    least = statistics.median(x for _, x in pairs)
    return {
        "parameters": str(kernel.parameters),
        "arrays": f"{kernel.arrays:.1f}",
        "microseconds": f"{statistics.median(x for x, _ in pairs) / UPDATES * 1e6:.2f}",
        "floor_microseconds": f"{least / UPDATES * 1e6:.2f}",
        "floor_gigabytes_a_second": f"{kernel.moved * UPDATES / least / 1e9:.1f}",
        **timing.cells("ratio", timing.ratio(pairs, 0, 1), digits=4),
    }


def arrays(name: str) -> float:
    """Arrays of the parameters' size that an update moves, the mean over a period."""
    method = COUNTED[name]
    budget = BUDGETS["cuda", method.base]
    if method.kind == "bare":
        return budget.bare
    return budget.ordinary + (budget.anchoring - budget.ordinary) / PERIOD


def updates(name: str, shapes: Tree) -> timing.Start:
    """A call makes `UPDATES` of them."""
    optimizer = COUNTED[name].make()

    def loop(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        def update(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            steps, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, steps), state

        return jax.lax.fori_loop(0, UPDATES, update, (params, state))

    def full() -> Any:
        return {k: jnp.full(x.shape, 0.01, x.dtype) for k, x in shapes.items()}

    init = jax.jit(optimizer.init)
    jitted = jax.jit(loop, donate_argnums=(0, 1))
    compiled = jitted.lower(shapes, jax.eval_shape(init, shapes), shapes).compile()

    def start() -> Callable[[], Any]:
        params, grads = full(), full()
        return timing.repeated(compiled, (params, init(params)), (grads,))

    return start


def copies(moved: float) -> timing.Start:
    """A call reads and writes an array as often; so many bytes each time."""

    def loop(array: jax.Array) -> tuple[jax.Array]:
        return (jax.lax.fori_loop(0, UPDATES, lambda _, x: -x, array),)

    shape = (round(moved / 2 / 4 / ALIGNED) * ALIGNED or ALIGNED,)
    abstract = jax.ShapeDtypeStruct(shape, jnp.float32)
    compiled = jax.jit(loop, donate_argnums=0).lower(abstract).compile()
    return lambda: timing.repeated(compiled, (jnp.ones(shape, jnp.float32),))
