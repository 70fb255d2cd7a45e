"""Time of an update over that of moving the bytes which it has to move.

Updates run in a loop inside one call, as in training, with donated params and state and
over whole periods. The floor is a kernel that reads and writes one array in place, as
often, of a size that makes it move as many bytes as the update must.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.deadline import Deadline
from benchmarks.speed import rows, timing
from benchmarks.traffic.budgets import BUDGETS
from benchmarks.traffic.methods import METHODS, PERIOD
from benchmarks.traffic.trees import Tree, size

FILE = "kernel.csv"
OPTIMIZERS = ("sgd", "trsgd", "trsgdw", "adam", "tradam", "tradamw")
DTYPES = ("float32", "bfloat16")
UPDATES = 4 * PERIOD  # in a call
GUESS = 20.0  # seconds of the first measurement, mostly to compile

Trees = Mapping[str, Callable[[], Tree]]


def cells(trees: Trees) -> list[tuple[str, str, str]]:
    """What is measured, in order: tree, dtype, optimizer."""
    return list(itertools.product(trees, DTYPES, OPTIMIZERS))


def run(folder: Path, trees: Trees, deadline: Deadline) -> bool:
    """Measure what is not measured yet; whether the deadline allowed all."""
    deadline.last.setdefault("measurement", GUESS)
    done = len(rows.read(folder / FILE))
    for tree, dtype, name in cells(trees)[done:]:
        if not deadline.allows("measurement"):
            return False
        print(f"kernel: {tree}, {dtype}, {name}", flush=True)
        with deadline.timing("measurement"):
            found = measure(trees[tree](), dtype, name)
        rows.add(
            folder / FILE, {"tree": tree, "dtype": dtype, "optimizer": name} | found
        )
    return True


def measure(tree: Tree, dtype: str, name: str) -> rows.Row:
    """Of one update: microseconds and ratios to the floor, paired."""
    shapes = {
        k: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)) for k, x in tree.items()
    }
    moved = arrays(name) * size(shapes)
    update, floor = updates(name, shapes), copies(moved)
    pairs = timing.in_turns(update, floor)
    ratio = timing.spread([ours / least for ours, least in pairs])
    least = statistics.median(x for _, x in pairs)
    return {
        "parameters": str(sum(x.size for x in shapes.values())),
        "arrays": f"{arrays(name):.1f}",
        "microseconds": f"{statistics.median(x for x, _ in pairs) / UPDATES * 1e6:.2f}",
        "floor_microseconds": f"{least / UPDATES * 1e6:.2f}",
        "floor_gigabytes_a_second": f"{moved * UPDATES / least / 1e9:.1f}",
        "ratio": f"{ratio.median:.4f}",
        "ratio_low": f"{ratio.low:.4f}",
        "ratio_high": f"{ratio.high:.4f}",
    }


def arrays(name: str) -> float:
    """Arrays of the parameters' size that an update moves, the mean over a period."""
    method = METHODS[name]
    budget = BUDGETS["cuda", method.base]
    if method.kind == "bare":
        return budget.bare
    return budget.ordinary + (budget.anchoring - budget.ordinary) / PERIOD


def updates(name: str, shapes: Tree) -> Callable[[], Any]:
    """A call makes `UPDATES` of them."""
    optimizer = METHODS[name].make()

    def loop(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        def update(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, state = carry
            steps, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, steps), state

        return jax.lax.fori_loop(0, UPDATES, update, (params, state))

    def full() -> Any:
        return {k: jnp.full(x.shape, 0.01, x.dtype) for k, x in shapes.items()}

    params, grads = full(), full()
    jitted = jax.jit(loop, donate_argnums=(0, 1))
    return timing.repeated(jitted, (params, jax.jit(optimizer.init)(params)), (grads,))


def copies(moved: float) -> Callable[[], Any]:
    """A call reads and writes an array as often; so many bytes each time."""

    def loop(array: jax.Array) -> tuple[jax.Array]:
        return (jax.lax.fori_loop(0, UPDATES, lambda _, x: -x, array),)

    array = jnp.ones(round(moved / 2 / 4), jnp.float32)
    return timing.repeated(jax.jit(loop, donate_argnums=0), (array,))
