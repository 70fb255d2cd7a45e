"""An update on this machine: bare, with the anchor, and PyTorch's."""

import importlib.util
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.costs import timing
from benchmarks.costs.measurements import Cell, Measure, Row
from benchmarks.costs.traffic.updates import COUNTED, MOMENTUM, PERIOD, RATE
from benchmarks.costs.trees import Tree, Trees

FILE = "updates.csv"
TORCH = ("torch_ms", "torch_to_ours", "torch_to_ours_low", "torch_to_ours_high")
OURS = {"sgd": "trsgd", "adam": "tradam"}
STRENGTH = 0.1  # lambda, trsgd's and tradam's own: lambda_w / RATE
B1, B2, EPS = 0.9, 0.999, 1e-8  # optax's own


def cells(trees: Trees) -> list[Cell]:
    """Return a row to measure for each tree and bare optimizer."""

    def ready(make: Callable[[], Tree], bare: str) -> Measure:
        return lambda: measure(make(), bare)

    return [
        Cell({"tree": name, "bare": bare}, partial(ready, make, bare))
        for name, make in trees.items()
        for bare in OURS
    ]


def measure(tree: Tree, bare: str) -> Row:
    """Return milliseconds of an update, and paired ratios; a call is a period."""
    ours = OURS[bare]
    works = [jitted(tree, bare), jitted(tree, ours)]
    if has_torch():
        works.append(pytorch_loop(tree, ours))
    turns = timing.interleaved(*works)
    found = {
        "parameters": str(sum(x.size for x in tree.values())),
        "ours": ours,
        "bare_ms": milliseconds(turns, 0),
        "ours_ms": milliseconds(turns, 1),
        **timing.columns("ours_to_bare", timing.ratio(turns, 1, 0)),
    }
    if not has_torch():
        return found | dict.fromkeys(TORCH, "-")
    slower = timing.columns("torch_to_ours", timing.ratio(turns, 2, 1))
    return found | {"torch_ms": milliseconds(turns, 2)} | slower


def has_torch() -> bool:
    """Return whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def milliseconds(turns: list[tuple[float, ...]], which: int) -> str:
    """Return the median time of one update."""
    return f"{1e3 / PERIOD * statistics.median(turn[which] for turn in turns):.2f}"


def jitted(tree: Tree, name: str) -> Callable[[], Any]:
    """Return a work that makes a period of updates, one program call each.

    The buffers of parameters and state are donated.
    """
    optimizer = COUNTED[name].make()

    def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def period(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        for _ in range(PERIOD):
            params, state = compiled(params, state, grads)
        return params, state

    params, grads = jax.tree.map(jnp.asarray, (start(tree), start(tree)))
    return timing.repeated(period, (params, jax.jit(optimizer.init)(params)), (grads,))


def pytorch_loop(tree: Tree, ours: str) -> Callable[[], Any]:
    """Return a work that makes a period of updates in PyTorch."""
    import torch

    ws = [torch.from_numpy(x) for x in start(tree).values()]
    gs = [torch.from_numpy(x) for x in start(tree).values()]
    update = pytorch_update(ws, gs, ours)

    def period() -> list[Any]:
        for _ in range(PERIOD):
            update()
        return []

    return period


def pytorch_update(ws: list[Any], gs: list[Any], ours: str) -> Callable[[], None]:
    """Return an update in PyTorch with the numbers that `COUNTED` gives."""
    from benchmarks.costs.pytorch import updates

    if ours == "trsgd":
        return updates.trsgd(ws, gs, RATE, MOMENTUM, PERIOD, STRENGTH)
    return updates.tradam(ws, gs, RATE, B1, B2, EPS, PERIOD, STRENGTH)


def start(tree: Tree) -> dict[str, np.ndarray]:
    """Return arrays of the shapes in a tree."""
    return {k: np.full(x.shape, 0.01, np.float32) for k, x in tree.items()}
