"""`python examples/finetune_memory.py`: what an anchor keeps in memory, on one device.

Fine-tuning with AdamW keeps the parameters and two moments, and a step has gradients
beside them. A pull towards pretrained weights adds the anchor, and one that is weighted
(EWC) the Fisher information, each 4 bytes a parameter in float32. Both may be bfloat16:
the Fisher information is then rounded to 3 digits, and an anchor loses nothing if the
pretrained weights were bfloat16 themselves; other weights it would round, and pull
there. An anchor that is taken anew each period may be int16 instead.

The bytes are those of the compiler, for an update of SmolLM2-135M's shapes; parameters
and state are donated. With two devices they are those of each, which holds a half of
all. The times are medians of updates of arrays of ones. Nothing is trained, and the
model need not be there.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
import smollm2
import typer
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from matplotlib.figure import Figure

from prox_optax import decoupled_proximal

RATE = 1e-4
TITLES = "kept", "with gradients and scratch"
MEASURE, TIME = "bytes a parameter", "an update, ms"
REPEATS = 7


class Kept(NamedTuple):
    """Say what is kept beside parameters and moments.

    Attributes:
      anchor: its dtype; None keeps no anchor.
      fisher: the dtype of the Fisher information; None pulls all weights alike.
      period: steps between two moves of the anchor; None keeps it.
      devices: that share all arrays.
    """

    anchor: str | None = None
    fisher: str | None = None
    period: int | None = None
    devices: int = 1

    def optimizer(self, fisher: Any) -> optax.GradientTransformation:
        """Return AdamW with the pull."""
        if self.anchor is None:
            return optax.adamw(RATE)
        strength = 0.1 if self.fisher is None else fisher
        pull = decoupled_proximal(
            strength, self.period, anchor_dtype=self.anchor, learning_rate=RATE
        )
        return optax.chain(optax.adamw(RATE), pull)


METHODS = {
    "AdamW": Kept(),
    "L2-SP, float32 anchor": Kept("float32"),
    "EWC, float32 anchor and Fisher": Kept("float32", "float32"),
    "EWC, float32 anchor, bfloat16 Fisher": Kept("float32", "bfloat16"),
    "EWC, bfloat16 anchor and Fisher": Kept("bfloat16", "bfloat16"),
    "anchor of a period, float32": Kept("float32", period=10),
    "anchor of a period, int16": Kept("int16", period=10),
    "AdamW, each of 2 devices": Kept(devices=2),
    "EWC, float32, each of 2 devices": Kept("float32", "float32", devices=2),
}


def placed(arrays: Any, devices: int) -> Any:
    """Give each array a sharding: along the first axis that the devices divide."""
    mesh = jax.make_mesh((devices,), ("all",), (AxisType.Auto,))

    def of(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        whole: list[str | None] = [None] * x.ndim
        axes = [k for k, size in enumerate(x.shape) if size % devices == 0]
        for axis in axes[:1]:
            whole[axis] = "all"
        return x.update(sharding=NamedSharding(mesh, P(*whole)))

    return jax.tree.map(of, arrays)


def compiled(kept: Kept, params: Any) -> tuple[jax.stages.Compiled, Any]:
    """Compile an update; return it and the shapes of its arguments."""

    def init(params, fisher):
        return kept.optimizer(fisher).init(params)

    def update(params, state, fisher, grads):
        updates, state = kept.optimizer(fisher).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    fisher = ()
    if kept.fisher is not None:
        dtype = jnp.dtype(kept.fisher)
        fisher = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), params)
    state = jax.eval_shape(init, params, fisher)
    shapes = placed((params, state, fisher, params), kept.devices)
    return jax.jit(update, donate_argnums=(0, 1)).lower(*shapes).compile(), shapes


def bytes_of(
    update: jax.stages.Compiled, size: int, devices: int
) -> tuple[float, float]:
    """Return the bytes a parameter between two steps, and the most during an update.

    They are those of one device.
    """
    found = update.memory_analysis()
    assert found is not None  # a backend may have none
    arguments, fresh = found.argument_size_in_bytes, found.output_size_in_bytes
    most = arguments + fresh - found.alias_size_in_bytes + found.temp_size_in_bytes
    return (arguments - 4 * size / devices) / size, most / size


def milliseconds(update: jax.stages.Compiled, shapes: Any) -> float:
    """Return the median time of an update of ones."""
    params, state, fisher, grads = jax.tree.map(
        lambda x: jax.device_put(jnp.ones(x.shape, x.dtype), x.sharding), shapes
    )
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        params, state = jax.block_until_ready(update(params, state, fisher, grads))
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def of_update(kept: Kept, params: Any) -> tuple[float, float, float]:
    """Return bytes kept and the most, a parameter, and the time of an update."""
    update, shapes = compiled(kept, params)
    size = sum(x.size for x in jax.tree.leaves(params))
    return *bytes_of(update, size, kept.devices), milliseconds(update, shapes)


def tabulate(found: dict[str, list[float]]) -> str:
    """Write a row a method: bytes a parameter, and the time."""
    lines = [f"| method | {' | '.join((*TITLES, TIME))} |", "| --- " * 4 + "|"]
    for name, (between, most, ms) in found.items():
        lines.append(f"| {name} | {between:.2f} | {most:.2f} | {ms:.0f} |")
    return "\n".join(lines) + "\n"


def draw(found: dict[str, list[float]]) -> Figure:
    """Draw a bar for what is kept and for the most."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel=MEASURE)
    between, most, _ = np.array(list(found.values())).T
    axes.barh(list(found), most, color="lightgray", label=TITLES[1])
    axes.barh(list(found), between, label=TITLES[0])
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Compile an update of each method; print and draw the bytes a parameter."""
    params = jax.eval_shape(lambda: smollm2.tiny().params if tiny else smollm2.drawn())
    found, raw = dict[str, list[float]](), list[records.Record]()
    for name, kept in METHODS.items():
        if kept.devices > jax.device_count():
            print(f"{name}: left out, there is one device.")
            continue
        found[name] = [float(x) for x in records.as_written(of_update(kept, params))]
        for title, x in zip((*TITLES, TIME), found[name], strict=True):
            raw += records.of_trials(title, "test", name, {}, np.array([[x]]))
    size = sum(x.size for x in jax.tree.leaves(params))
    text = (
        f"{MEASURE.capitalize()} of an update of {size:,} float32 parameters:\n\n"
        f"{tabulate(found)}"
    )
    report.show("finetune_memory", text, draw(found), raw, out, tiny)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    typer.run(main)
