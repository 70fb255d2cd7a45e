"""Count bytes and kernels of a training step, compiled for a GPU that is not there.

The step is the body of the loop that trains the pooled experiment: it updates all runs
that are trained together. A fusion that reads only a part of an array is counted with
that part.
"""

import importlib.metadata
import math
import re
from collections.abc import Mapping
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from benchmarks import models
from benchmarks.costs import measurements
from benchmarks.costs.traffic import hlo
from benchmarks.costs.traffic.targets import PLUGINS, Target, devices, use_cpu_alone
from benchmarks.data.image_set import ImageSet, Split
from benchmarks.experiments import Experiment, one_gpu
from benchmarks.records import files, origin, run_files
from benchmarks.report.markdown import align
from benchmarks.runs import grid
from benchmarks.tasks import classify
from benchmarks.training import loop, vectors
from benchmarks.training.task import Task

COMMAND = "python -m benchmarks lanes"
FILE, TABLE, META = "lanes.csv", "lanes.md", "lanes.json"
FILES = (FILE, TABLE)
SEEDS = 3
PART = 5  # steps of the loop, whose body is counted once
EXAMPLES = 800  # of random data: nothing is run
WITH_XLA: dict[str, str | bool] = {
    "xla_gpu_enable_triton_gemm": False  # as on a GPU (see __main__)
}
SLICES = ("slice", "dynamic-slice")
PARAMETER = re.compile(r"param_(\d+)")
BODY = re.compile(rf"body={hlo.NAME}")

rebuilt: models.Convolve = jax.checkpoint(models.convolve_by_patches, static_argnums=2)

WAYS: Mapping[str, models.Convolve] = {
    "patches": models.convolve_by_patches,
    "patches, rebuilt": rebuilt,
    "XLA's own": models.convolve_by_xla,
    "in place": models.convolve_in_place,
}


class Step(NamedTuple):
    """A training step that is counted.

    Attributes:
      convolution: a name in `WAYS`.
      kept: how the loop keeps networks, as "vectors" or as "arrays".
    """

    convolution: str
    kept: str


STEPS = (
    Step("patches", "arrays"),
    *(Step(name, "vectors") for name in WAYS),
)


def run(folder: Path) -> str:
    """Count all steps; write lanes.csv, lanes.md and lanes.json; return the table."""
    use_cpu_alone()
    found = [measure(step, Target("cuda", "H100")) for step in STEPS]
    (folder / FILE).unlink(missing_ok=True)
    for row in found:
        measurements.add(folder / FILE, row)
    header = tuple(key.replace("_", " ") for key in found[0])
    table = align([header, *(tuple(row.values()) for row in found)])
    plugin = PLUGINS["cuda"]
    versions = origin.versions() | {plugin: importlib.metadata.version(plugin)}
    text = "\n".join(
        [*table, "", NOTES, "", f"`{COMMAND}`; {origin.listed(versions)}.", ""]
    )
    files.write_text(folder / TABLE, text)
    meta = {"command": COMMAND, "versions": versions, **origin.environment()}
    run_files.write_meta(folder / META, meta)
    return text


NOTES = f"""\
A step of {one_gpu.POOLED_30.name}, compiled for an H100: {SEEDS} seeds
of each of 11 optimizers, ResNet-18 of width 16, batch 8, bfloat16, with the optimizers,
augmentation and BatchNorm. Megabytes read and written an example; of products: by
matmuls, convolutions and our kernels, with their workspaces. Kernels: launches a step.
Rebuilt: the patches are made again in the backward pass. Counted in the compiled
programs, not timed; caches make some of it cheaper."""


def measure(step: Step, target: Target) -> measurements.Row:
    """Compile a step and count what it moves and launches."""
    print(f"{target.chip}: {step.convolution}, {step.kept}", flush=True)
    experiment = one_gpu.POOLED_30
    compiled = compile_steps(experiment, step, SingleDeviceSharding(devices(target)[0]))
    module = hlo.parse(compiled.as_text())
    moved = {
        name: bytes_of(x, computation, module)
        for computation in instructions(module)
        for name, x in computation.items()
        if x.opcode not in (*hlo.FREE, "call", "while")
    }
    products = {
        name
        for computation in instructions(module)
        for name, x in computation.items()
        if x.opcode == "custom-call"
    }
    examples = experiment.runs // experiment.seeds * SEEDS * experiment.batch_sizes[0]
    memory: Any = compiled.memory_analysis()
    return {
        **step._asdict(),
        "megabytes_an_example": f"{sum(moved.values()) / examples / 1e6:.2f}",
        "of_products": f"{sum(moved[x] for x in products) / examples / 1e6:.2f}",
        "kernels": str(len(moved)),
        "temporary_megabytes": f"{memory.temp_size_in_bytes / 1e6:.0f}",
    }


def instructions(module: hlo.Module) -> list[hlo.Computation]:
    """Return the body of the longest loop, and the computations that it calls."""
    bodies = loops(module, module.entry)
    largest = max(bodies, key=lambda name: len(module.computations[name]))
    names = [largest]
    for name in names:
        calls = module.computations[name].values()
        names += [hlo.called(x) for x in calls if x.opcode == "call"]
    return [module.computations[name] for name in names]


def loops(module: hlo.Module, name: str) -> list[str]:
    """Return the bodies of all loops inside a computation."""
    found: list[str] = []
    for x in module.computations[name].values():
        if x.opcode == "call":
            found += loops(module, hlo.called(x))
        if x.opcode == "while" and (match := BODY.search(x.attributes)):
            found += [match[1], *loops(module, match[1])]
    return found


def bytes_of(
    x: hlo.Instruction, computation: hlo.Computation, module: hlo.Module
) -> int:
    """Return the bytes that an instruction moves.

    Of an array that a fusion slices only the part counts that is read.
    """
    whole = hlo.moved(x, computation)
    if x.opcode != "fusion":
        return whole
    inside = module.computations[hlo.called(x)]
    for name, part in parts_read(inside).items():
        if match := PARAMETER.match(name):
            operand = computation[x.operands[int(match[1])]].results[0].bytes
            whole -= round(operand * (1 - part))
    return whole


def parts_read(inside: hlo.Computation) -> dict[str, float]:
    """Return the part of each value of a fusion that its results depend on, 0 to 1.

    A slice takes its part of its operand. Any other instruction takes the part of its
    operands that is taken of itself. Instructions stand after their operands.
    """
    found: dict[str, float] = {}
    used = {name for x in inside.values() for name in x.operands}
    for name, x in reversed(inside.items()):
        part = min(1.0, found.get(name, 0.0)) if name in used else 1.0
        found[name] = part
        for source in x.operands:
            ratio = 1.0
            if x.opcode in SLICES:
                sizes = (math.prod(y.results[0].dims) for y in (x, inside[source]))
                ratio = truediv(*sizes)
            found[source] = found.get(source, 0.0) + part * ratio
    return found


def compile_steps(
    experiment: Experiment, step: Step, sharding: jax.sharding.Sharding
) -> jax.stages.Compiled:
    """Compile some steps of an experiment's only program, with a way to convolve."""
    images = np.zeros((EXAMPLES, 32, 32, 3), np.uint8)
    split: Any = Split(images, np.zeros(EXAMPLES, np.int32))  # type: ignore[arg-type]
    data_set = ImageSet(split, split, split, 10, jnp.zeros(3), jnp.ones(3), "nothing")
    (program,) = grid.programs(experiment)
    task = task_of(experiment, WAYS[step.convolution], data_set)
    if step.kept == "vectors":
        task, _ = vectors.as_vectors(task)
    numbers = grid.number_arrays(experiment, program)
    methods = grid.methods(experiment, program, steps=EXAMPLES)
    seeds, number = np.arange(SEEDS), jax.ShapeDtypeStruct((), jnp.int32)
    start = partial(loop.init_lanes, task, methods)
    like = jax.eval_shape(start, numbers, seeds)
    epoch = partial(loop.epoch, task, methods, part=PART)
    jitted = jax.jit(
        epoch, donate_argnums=0, in_shardings=sharding, out_shardings=sharding
    )
    lowered = jitted.lower(like, split, numbers, seeds, number, number)
    return lowered.compile(WITH_XLA)


def task_of(
    experiment: Experiment, convolve: models.Convolve, data_set: ImageSet
) -> Task:
    """Return the experiment's task, with another way to convolve."""
    problem = experiment.problem
    assert isinstance(problem, classify.Images)
    make = classify.resnet18("batch", convolve)
    return problem.task_of(make, data_set, experiment.batch_sizes[0])
