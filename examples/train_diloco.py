r"""`python examples/train_diloco.py`: workers that talk every 20 steps (DiLoCo).

Each device is a worker. It trains a network of its own by AdamW, on images that no
other worker has. Every 20 steps `outer` averages how far the workers are from the
anchor and moves the anchor by SGD with Nesterov's momentum, and all go on from there.
In between nothing is sent. `get_anchor` reads the slow weights, which are evaluated.

This command makes 4 devices of the CPU. It compares with data-parallel training, which
averages the gradients in each step, on 10 seeds, and counts the bytes that both send.
With `--checkpoints` it trains one network instead, and saves all after each outer step.
Two processes of 2 devices, to be started side by side, with I = 0 and 1:

    python examples/train_diloco.py --cpus 2 --process I/2 \
        --coordinator localhost:1234 --checkpoints $PWD/run

If one of them is lost, the other stops by itself after a minute or two. Start both
again with `--resume`: they go on from the last checkpoint, to the numbers of a run that
was never stopped. On a GPU cluster (one process a GPU, Slurm tells each its place),
with a folder that all processes see:

    srun --nodes 4 --ntasks-per-node 8 --gpus-per-node 8 --kill-on-bad-exit \
        python examples/train_diloco.py --cluster --checkpoints /shared/run --resume

Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
arXiv 2311.08105.
"""

import math
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import digits
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import records
import report
import typer
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from prox_optax import get_anchor, outer

HIDDEN, BATCH, RATE, PERIOD, ROUNDS = 64, 32, 3e-3, 20, 15  # a batch for each worker
STEPS = 100  # what is sent is counted over as many
WORKERS, MEASURE = "workers", "test accuracy"
GRAPH = digits.graph(HIDDEN)


class Method(NamedTuple):
    """A way to train.

    Attributes:
      tx: the optimizer of a worker.
      slow: from the optimizer's state and the parameters, those to be evaluated.
    """

    tx: optax.GradientTransformation
    slow: Callable[[Any, Any], Any]


adamw = optax.adamw(RATE)
mean_gradient = optax.stateless(lambda grads, _: jax.lax.pmean(grads, WORKERS))
nesterov = optax.sgd(0.7, momentum=0.9, nesterov=True)
METHODS = {
    "data-parallel": Method(
        optax.chain(mean_gradient, adamw), lambda _, params: params
    ),
    "DiLoCo": Method(
        optax.chain(adamw, outer(nesterov, PERIOD, axis_name=WORKERS)), get_anchor
    ),
}


def spread(tree: Any, mesh: Mesh) -> Any:
    """Give each worker its part of the first axis; a process holds its devices' own."""
    of_workers = NamedSharding(mesh, P(WORKERS))

    def part(x: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(x.shape, of_workers, lambda i: x[i])

    return jax.tree.map(lambda x: part(np.asarray(x)), tree)


def init(tx: optax.GradientTransformation, mesh: Mesh, seed: int) -> Any:
    """Return the parameters and the states of all workers, which start alike."""
    params = nnx.state(digits.Network(HIDDEN, nnx.Rngs(seed)))
    start = params, tx.init(params)
    return spread(jax.tree.map(lambda x: np.stack([x] * mesh.size), start), mesh)


def shares(images: digits.Images, workers: int) -> digits.Images:
    """Deal the images out, as many to each worker."""
    n = len(images.labels) // workers

    def deal(x: jax.Array) -> Any:
        return np.asarray(x)[: workers * n].reshape(workers, n, *x.shape[1:])

    return digits.Images(*map(deal, images))


def rows_at(t: int, seed: int, images: digits.Images) -> np.ndarray:
    """Draw a batch for each worker by the step alone, so that it can be resumed."""
    workers, n = images.labels.shape
    return np.random.default_rng((seed, t)).integers(n, size=(workers, BATCH))


def train_step(tx: optax.GradientTransformation, *of_workers: Any) -> Any:
    """Return the next parameters and state of one worker, which calls it by itself."""
    of_worker = jax.tree.map(lambda x: x[0], of_workers)
    (params, state), images, rows = of_worker
    grads = jax.grad(digits.loss, 1)(GRAPH, params, images.take(rows))
    updates, state = tx.update(grads, state, params)
    new = optax.apply_updates(params, updates), state
    return jax.tree.map(lambda x: x[None], new)


@cache
def compiled(method: Method, mesh: Mesh) -> jax.stages.Compiled:
    """Compile a step of all workers."""
    step = jax.shard_map(
        partial(train_step, method.tx),
        mesh=mesh,
        in_specs=P(WORKERS),
        out_specs=P(WORKERS),
    )
    images = shares(digits.load()[0], mesh.size)
    inputs = spread((images, rows_at(0, 0, images)), mesh)
    start = init(method.tx, mesh, 0)
    return jax.jit(step, donate_argnums=0).lower(start, *inputs).compile()


def sent(step: jax.stages.Compiled) -> int:
    """Count the bytes that a worker gives to all-reduces in STEPS steps of a program.

    All count in each step, but those in the branch of an outer step.
    """

    def reduced(text: str) -> int:
        results = "".join(re.findall(r" = (.*) all-reduce(?:-start)?\(", text))
        return sum(
            int(bits) // 8 * math.prod(int(n) for n in shape.split(",") if n)
            for bits, shape in re.findall(r"\b[a-z]+(\d+)\[([\d,]*)\]", results)
        )

    text = str(step.as_text())
    branch = re.search(r"branch_computations=\{%?[\w.-]+, %?([\w.-]+)\}", text)
    if not branch:
        return STEPS * reduced(text)
    body = re.search(rf"^%?{re.escape(branch[1])} \(.*?^\}}", text, re.M | re.S)
    assert body is not None
    outer_steps = STEPS // PERIOD
    return STEPS * (reduced(text) - reduced(body[0])) + outer_steps * reduced(body[0])


@jax.jit
def evaluate(params: Any, images: digits.Images) -> tuple[jax.Array, jax.Array]:
    """Return the loss and the accuracy."""
    args = GRAPH, params, images
    return digits.loss(*args), digits.accuracy(*args)


def train(
    method: Method,
    mesh: Mesh,
    rounds: int = ROUNDS,
    seed: int = 0,
    manager: ocp.CheckpointManager | None = None,
) -> tuple[Any, list[tuple[float, float]]]:
    """Train for some periods, from the last checkpoint on.

    Returns:
      The parameters and states, and the loss and the accuracy after each period.
    """
    images, _, test = digits.load()
    images = shares(images, mesh.size)
    held = spread(images, mesh)
    step, tree, scores = compiled(method, mesh), init(method.tx, mesh, seed), []
    start = (manager.latest_step() if manager else None) or 0
    if manager and start:
        tree = manager.restore(start, args=ocp.args.StandardRestore(tree))
    for t in range(start, rounds * PERIOD):
        tree = step(tree, held, spread(rows_at(t, seed, images), mesh))
        if (t + 1) % PERIOD == 0:
            params, state = jax.tree.map(lambda x: x.addressable_data(0)[0], tree)
            loss, accuracy = map(float, evaluate(method.slow(state, params), test))
            scores.append((loss, accuracy))
            if manager:
                shown = f"test loss {loss:.7f}, test accuracy {accuracy:.4f}"
                print(f"step {t + 1}: {shown}", flush=True)
                manager.save(t + 1, args=ocp.args.StandardSave(tree))
    return tree, scores


def traffic(mesh: Mesh) -> str:
    """Write how many bytes the methods send, and why."""
    params = nnx.state(digits.Network(HIDDEN, nnx.Rngs(0)))
    n = sum(x.size for x in jax.tree.leaves(params))
    lines = [f"A worker gives to all-reduces in {STEPS} steps:\n"]
    for name, method in METHODS.items():
        count = sent(compiled(method, mesh))
        times = f"{count / (4 * n):g} times the {n:,} parameters of 4 bytes"
        lines.append(f"- {name}: {count:,} bytes, {times}")
    return "\n".join(lines) + "\n"


def compare(mesh: Mesh, rounds: int, seeds: int, out: Path, tiny: bool) -> None:
    """Train by each method on these seeds, and write what came out."""
    curves = {
        name: np.array(
            [
                [accuracy for _, accuracy in train(method, mesh, rounds, seed)[1]]
                for seed in range(seeds)
            ]
        )
        for name, method in METHODS.items()
    }
    scores = {name: records.as_written(x[:, -1]) for name, x in curves.items()}
    title = f"{mesh.size} workers, {rounds * PERIOD} steps"
    text = (
        f"{report.comparison(title, MEASURE, scores)}\n{traffic(mesh)}\n"
        "Data-parallel training sends the gradient in each step, DiLoCo the distance "
        f"from the anchor once in {PERIOD} steps. The bytes are counted in the "
        "compiled programs. In a ring of W workers each sends 2 (W - 1) / W times as "
        "many.\n\n"
        f"Both train by AdamW at {RATE:g}, which was not tuned. "
        f"To take away: {report.verdict(scores, 'DiLoCo', 'data-parallel')}\n"
    )
    x = PERIOD * (1 + np.arange(rounds))
    figure = report.draw(x, {"": curves}, "step", MEASURE)
    raw = [
        row
        for name, values in scores.items()
        for row in records.of_trials(title, "test", name, {}, values[None])
    ]
    if jax.process_index() == 0:
        report.show("train_diloco", text, figure, raw, out, tiny)


def train_one(mesh: Mesh, rounds: int, folder: Path, resume: bool) -> None:
    """Train a network by DiLoCo, and save it after each outer step."""
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        found = manager.latest_step()
        if found is not None and not resume:
            raise SystemExit(f"{folder} holds step {found}: write --resume to go on.")
        print(f"step {found or 0}, {mesh.size} workers", flush=True)
        train(METHODS["DiLoCo"], mesh, rounds, manager=manager)


def main(
    tiny: bool = False,
    out: Path = Path("results/examples"),
    checkpoints: Annotated[
        Path | None, typer.Option(help="Train one network, save it in this folder.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from there.")] = False,
    rounds: Annotated[int, typer.Option(help="Outer steps with --checkpoints.")] = 15,
    cpus: Annotated[int, typer.Option(help="Devices to make of this CPU.")] = 4,
    coordinator: Annotated[
        str, typer.Option(help="HOST:PORT of the first process.")
    ] = "",
    process: Annotated[
        str, typer.Option(help="0/2 and 1/2 for two processes.")
    ] = "0/1",
    cluster: Annotated[bool, typer.Option(help="Ask it for both of these.")] = False,
) -> None:
    """Compare on ten seeds, or train one network that can go on."""
    jax.config.update("jax_num_cpu_devices", cpus)
    if cluster:
        jax.distributed.initialize()
    elif coordinator:
        index, processes = map(int, process.split("/"))
        jax.distributed.initialize(coordinator, processes, index)
    kinds = (AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), (WORKERS,), axis_types=kinds)
    if checkpoints is None:
        compare(mesh, *((2, 2) if tiny else (ROUNDS, 10)), out, tiny)
        return
    train_one(mesh, 2 if tiny else rounds, checkpoints, resume)


if __name__ == "__main__":
    typer.run(main)
