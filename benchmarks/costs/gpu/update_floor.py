"""An update on a GPU against the floor of its time: a kernel that moves as many bytes.

Updates run in a loop inside one call, as in training, with donated params and state and
over whole periods. The floor is a kernel that reads and writes one array in place as
often. The array's size makes it move as many bytes as the update must.
"""

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Cell, Measure, Row
from benchmarks.costs.traffic.budgets import BUDGETS
from benchmarks.costs.traffic.updates import COUNTED, PERIOD
from benchmarks.costs.trees import Tree, Trees, size
from benchmarks.runs.deadline import Deadline

FILE = "kernel.csv"
OPTIMIZERS = ("sgd", "trsgd", "trsgdw", "adam", "tradam", "tradamw")
DTYPES = ("float32", "bfloat16")
ALIGNED = 1024  # elements: XLA's copy of an odd number of them is slow on a GPU
UPDATES = 4 * PERIOD  # in a call
GUESS = 2.5  # seconds to compile one beside others, or to time it


def run(folder: Path, trees: Trees, deadline: Deadline) -> bool:
    """Measure what is not measured yet; return whether the deadline allowed all."""
    return measurements.complete(
        folder / FILE, cells(trees), deadline, compile_guess=GUESS, guess=GUESS
    )


def cells(trees: Trees) -> list[Cell]:
    """Return a row to measure for each tree, dtype and optimizer."""
    return [
        Cell(
            {"tree": tree, "dtype": dtype, "optimizer": name},
            partial(ready, trees[tree], dtype, name),
        )
        for tree, dtype, name in itertools.product(trees, DTYPES, OPTIMIZERS)
    ]


def ready(make: Callable[[], Tree], dtype: str, name: str) -> Measure:
    """Compile an update and its floor; return what times them, interleaved."""
    shapes = {
        k: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)) for k, x in make().items()
    }
    moved = arrays_moved(name) * size(shapes)
    start_update, start_floor = update_loop(name, shapes), copy_loop(moved)

    def measure() -> Row:
        turns = timing.interleaved(start_update(), start_floor())
        took, least = (statistics.median(times) for times in zip(*turns, strict=True))
        return {
            "parameters": str(sum(x.size for x in shapes.values())),
            "arrays": f"{arrays_moved(name):.1f}",
            "microseconds": f"{took / UPDATES * 1e6:.2f}",
            "floor_microseconds": f"{least / UPDATES * 1e6:.2f}",
            "floor_gigabytes_a_second": f"{moved * UPDATES / least / 1e9:.1f}",
            **timing.columns("ratio", timing.ratio(turns, 0, 1), digits=4),
        }

    return measure


def arrays_moved(name: str) -> float:
    """Return the mean over a period of the arrays that an update moves.

    The arrays are of the size of the parameters.
    """
    method = COUNTED[name]
    budget = BUDGETS["cuda", method.base]
    if method.kind == "bare":
        return budget.bare
    return budget.ordinary + (budget.anchoring - budget.ordinary) / PERIOD


def update_loop(name: str, shapes: Tree) -> timing.Start:
    """Compile a call that makes `UPDATES` updates."""
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


def copy_loop(moved: float) -> timing.Start:
    """Compile a call that moves so many bytes `UPDATES` times, half of them read."""

    def loop(array: jax.Array) -> tuple[jax.Array]:
        return (jax.lax.fori_loop(0, UPDATES, lambda _, x: -x, array),)

    shape = (round(moved / 2 / 4 / ALIGNED) * ALIGNED or ALIGNED,)
    abstract = jax.ShapeDtypeStruct(shape, jnp.float32)
    compiled = jax.jit(loop, donate_argnums=0).lower(abstract).compile()
    return lambda: timing.repeated(compiled, (jnp.ones(shape, jnp.float32),))
