"""An update on this machine: bare, with the anchor, and PyTorch's."""

import importlib.util
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.costs import measurements, timing
from benchmarks.costs.traffic.counted import COUNTED, MOMENTUM, PERIOD, RATE
from benchmarks.costs.trees import Tree

FILE = "updates.csv"
TORCH = ("torch_ms", "torch_to_ours", "torch_to_ours_low", "torch_to_ours_high")
OURS = {"sgd": "trsgd", "adam": "tradam"}
STRENGTH = 0.1  # lambda, trsgd's and tradam's own: lambda_w / RATE
B1, B2, EPS = 0.9, 0.999, 1e-8  # optax's own

Trees = Mapping[str, Callable[[], Tree]]


def run(folder: Path, trees: Trees) -> None:
    """Measure what is not measured yet."""
    done = {(row["tree"], row["bare"]) for row in measurements.read(folder / FILE)}
    for name, make in trees.items():
        for bare in OURS:
            if (name, bare) not in done:
                print(f"updates: {name}, {bare}", flush=True)
                found = measure(make(), bare)
                measurements.add(folder / FILE, {"tree": name, "bare": bare} | found)


def measure(tree: Tree, bare: str) -> measurements.Row:
    """Milliseconds of an update, and paired ratios, each call a whole period."""
    ours = OURS[bare]
    works = [jitted(tree, bare), jitted(tree, ours)]
    if has_torch():
        works.append(eager_loop(tree, ours))
    turns = timing.in_turns(*works)
    found = {
        "parameters": str(sum(x.size for x in tree.values())),
        "ours": ours,
        "bare_ms": milliseconds(turns, 0),
        "ours_ms": milliseconds(turns, 1),
        **timing.cells("ours_to_bare", timing.ratio(turns, 1, 0)),
    }
    if not has_torch():
        return found | dict.fromkeys(TORCH, "-")
    slower = timing.cells("torch_to_ours", timing.ratio(turns, 2, 1))
    return found | {"torch_ms": milliseconds(turns, 2)} | slower


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def milliseconds(turns: list[tuple[float, ...]], which: int) -> str:
    """Of one update, the median."""
    return f"{1e3 / PERIOD * statistics.median(turn[which] for turn in turns):.2f}"


def jitted(tree: Tree, name: str) -> Callable[[], Any]:
    """A call makes a period of updates, one program each, of donated buffers."""
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


def eager_loop(tree: Tree, ours: str) -> Callable[[], Any]:
    """The same in PyTorch."""
    import torch

    ws = [torch.from_numpy(x) for x in start(tree).values()]
    gs = [torch.from_numpy(x) for x in start(tree).values()]
    update = eager_update(ws, gs, ours)

    def period() -> list[Any]:
        for _ in range(PERIOD):
            update()
        return []

    return period


def eager_update(ws: list[Any], gs: list[Any], ours: str) -> Callable[[], None]:
    """With the numbers that `COUNTED` gives."""
    from benchmarks.costs.pytorch import updates

    if ours == "trsgd":
        return updates.trsgd(ws, gs, RATE, MOMENTUM, PERIOD, STRENGTH)
    return updates.tradam(ws, gs, RATE, B1, B2, EPS, PERIOD, STRENGTH)


def start(tree: Tree) -> dict[str, np.ndarray]:
    return {k: np.full(x.shape, 0.01, np.float32) for k, x in tree.items()}
