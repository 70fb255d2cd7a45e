r"""`python examples/train_sharded.py`: many devices, many processes, an anchor.

`--layout data` repeats all on each device, `zero1` shards the optimizer's state, `fsdp`
the parameters too, and `explicit` is `fsdp` on a mesh whose arrays carry their sharding
in their type. One rule places arrays by shape: the anchor lies where the moments lie.
The batch depends on the step alone: a resumed run sees what it would have seen.

Without an accelerator it makes 8 devices of the CPU. Two processes of 4 devices, to be
started side by side, with I = 0 and 1; start them again after a crash:

    python examples/train_sharded.py --cpus 4 --processes 2 --process I \
        --coordinator localhost:1234 --checkpoints $PWD/run

On a GPU cluster (one process a GPU, Slurm tells each its place) and on a TPU pod slice
(gs:// needs gcsfs), with a folder for the checkpoints that all processes see:

    srun --nodes 4 --ntasks-per-node 8 --gpus-per-node 8 \
        python examples/train_sharded.py --cluster --checkpoints /shared/run
    gcloud compute tpus tpu-vm ssh SLICE --zone ZONE --worker all --command \
        "cd prox_optax && \
        python3 examples/train_sharded.py --cluster --checkpoints gs://BUCKET/run"
"""

from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import typer
from digits import Images, load
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import prox_optax

HIDDEN, BATCH = 256, 64
Layout = StrEnum("Layout", ["data", "zero1", "fsdp", "explicit"])


def init(tx: optax.GradientTransformation) -> tuple[Any, Any]:
    """Return the parameters and the optimizer's state."""
    body, head = jax.random.split(jax.random.key(0))
    params = {
        "body": jax.random.normal(body, (64, HIDDEN)) / 8,
        "bias": 0.1 * jax.random.normal(head, (1, HIDDEN)),
        "head": jax.random.normal(head, (HIDDEN, 10)) / HIDDEN**0.5,
    }
    return params, tx.init(params)


def placed(shapes: tuple[Any, Any], layout: Layout, mesh: Mesh) -> tuple[Any, Any]:
    """Shapes with shardings: along the first axis that the devices divide, or whole."""

    def whole(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return x.update(sharding=NamedSharding(mesh, P()))

    def split(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        fits = [i for i, n in enumerate(x.shape) if n % mesh.size == 0]
        axes = ["data" if fits[:1] == [i] else None for i in range(x.ndim)]
        return x.update(sharding=NamedSharding(mesh, P(*axes)))

    of_params = whole if layout in (Layout.data, Layout.zero1) else split
    of_state = whole if layout == Layout.data else split
    return jax.tree.map(of_params, shapes[0]), jax.tree.map(of_state, shapes[1])


def gathered(w: jax.Array) -> jax.Array:
    """Put the whole of ``w`` on each device; needed where shardings are explicit."""
    explicit = AxisType.Explicit in jax.typeof(w).sharding.mesh.axis_types
    return jax.sharding.reshard(w, P()) if explicit else w


def train_step(
    tx: optax.GradientTransformation, params: Any, state: Any, batch: Images
) -> tuple[Any, Any, jax.Array]:
    """Return the next parameters, the next state and the loss."""

    def loss_of(params: Any) -> jax.Array:
        w = jax.tree.map(gathered, params)
        logits = jax.nn.relu(batch.pixels @ w["body"] + w["bias"]) @ w["head"]
        labels = jax.nn.one_hot(batch.labels, 10)
        return optax.losses.softmax_cross_entropy(logits, labels).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


def batch_at(step: int, images: Images, mesh: Mesh) -> Images:
    """Make the batch of a step; each process makes the rows of its own devices."""
    rows = np.random.default_rng(step).integers(len(images.labels), size=BATCH)

    def part(x: np.ndarray) -> jax.Array:
        sharding = NamedSharding(mesh, P("data"))

        def of(index: Any) -> np.ndarray:
            return x[rows[index[0]]]

        return jax.make_array_from_callback((BATCH, *x.shape[1:]), sharding, of)

    return Images(*(part(np.asarray(x)) for x in images))


def train(
    tx: optax.GradientTransformation,
    layout: Layout,
    mesh: Mesh,
    steps: int,
    manager: ocp.CheckpointManager | None = None,
) -> tuple[Any, Any]:
    """Parameters and state after ``steps`` steps, from the last checkpoint on."""
    images, *_ = load()
    make = partial(init, tx)
    target = placed(jax.eval_shape(make), layout, mesh)
    shardings = jax.tree.map(lambda x: x.sharding, target)
    with jax.set_mesh(mesh):
        start = (manager.latest_step() if manager else None) or 0
        if manager and start:
            restore = ocp.args.StandardRestore(target)
            params, state = manager.restore(start, args=restore)
        else:
            params, state = jax.jit(make, out_shardings=shardings)()
        print(f"step {start} on {mesh.size} devices, {layout}", flush=True)
        step = jax.jit(
            partial(train_step, tx),
            donate_argnums=(0, 1),
            out_shardings=(*shardings, None),
        )
        for t in range(start, steps):
            params, state, loss = step(params, state, batch_at(t, images, mesh))
            if manager:
                saved = ocp.args.StandardSave((params, state))
                manager.save(t + 1, args=saved, force=t + 1 == steps)
            if (t + 1) % 50 == 0 or t + 1 == steps:
                print(f"step {t + 1}: loss {loss:.4f}", flush=True)
    return params, state


def main(
    layout: Layout = Layout.fsdp,
    steps: int = 200,
    tiny: bool = False,
    checkpoints: str | None = None,
    cpus: Annotated[int, typer.Option(help="Devices to make of this CPU.")] = 8,
    processes: int = 1,
    process: int = 0,
    coordinator: str = "localhost:1234",
    cluster: Annotated[bool, typer.Option(help="Ask it for all of these.")] = False,
) -> None:
    """Train, and save every 10 steps where ``checkpoints`` says so."""
    jax.config.update("jax_num_cpu_devices", cpus)
    if cluster:
        jax.distributed.initialize()
    elif processes > 1:
        jax.distributed.initialize(coordinator, processes, process)
    kinds = {Layout.explicit: AxisType.Explicit}
    mesh = jax.make_mesh(
        (jax.device_count(),), ("data",), axis_types=(kinds.get(layout, AxisType.Auto),)
    )
    tx = prox_optax.tradamw(1e-2)
    options = ocp.CheckpointManagerOptions(save_interval_steps=10, max_to_keep=2)
    with (
        ocp.CheckpointManager(checkpoints, options=options)
        if checkpoints
        else nullcontext()
    ) as manager:
        train(tx, layout, mesh, 20 if tiny else steps, manager)


if __name__ == "__main__":
    typer.run(main)
