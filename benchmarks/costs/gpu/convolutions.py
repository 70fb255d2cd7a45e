"""Convolutions of replicas, timed on what is trained; the fastest way trains it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import models
from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Cell, Measure, Row
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.records import origin
from benchmarks.runs import placement, program
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.classify import Images
from benchmarks.tasks.problem import DataSet

FILE = "convolutions.csv"
FAILED = "failed"
COMPILE_GUESS = 40.0  # seconds to compile one, on a device that compiled none
GUESS = 5.0  # seconds to measure one

LARGEST_ERROR = 0.05  # of a way that may train; rounding makes 0.003 to 0.03


class Way(NamedTuple):
    """A way for replicas to convolve.

    Attributes:
      network: the name of the network that convolves so.
      convolve: its convolution.
    """

    network: str
    convolve: models.Convolve


WAYS = {
    "in place": Way("resnet18, convolutions in place", models.convolve_in_place),
    "XLA's own": Way("resnet18, plain convolutions", models.convolve_by_xla),
    "patches": Way("resnet18", models.convolve_by_patches),
}
"""The last one is taken where none was timed."""

FIRST = ("in place", "patches")
LATER = ("XLA's own",)
"""Timed after the first part that trains: what may take long to compile."""


def run(
    folder: Path,
    experiment: Experiment,
    seeds: int,
    names: Sequence[str],
    ways: Mapping[str, Way],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Time the named ways that were not; return whether the deadline allowed all.

    What is timed is the very program that trains so many seeds of the experiment, so
    that it is compiled when they are trained.
    """
    problem = experiment.problem
    place = replicas.data_of(data_dir, problem.data)
    load = timing.once(partial(problem.load, place))

    def cell(way: str) -> Cell:
        key = {
            "experiment": experiment.name,
            "convolution": way,
            "seeds": str(seeds),
            "lanes": str(seeds * experiment.runs // experiment.seeds),
        }
        return Cell(key, partial(ready, experiment, seeds, ways[way], load))

    return measurements.complete(
        folder / FILE,
        [cell(name) for name in names],
        deadline,
        compile_guess=COMPILE_GUESS,
        guess=GUESS,
    )


def some(
    experiment: Experiment, seeds: int, network: str, first: int = 0
) -> Experiment:
    """Return an experiment with some of its seeds and another network."""
    problem = experiment.problem
    assert isinstance(problem, Images)
    return replace(
        experiment,
        seeds=seeds,
        first_seed=first,
        problem=replace(problem, network=network),
    )


class Compiled(NamedTuple):
    """Training that can be timed, and the error of its convolutions."""

    training: replicas.Training
    error: float


def ready(
    experiment: Experiment, seeds: int, way: Way, load: Callable[[], DataSet]
) -> Measure:
    """Compile the training of some seeds; return what measures its speed.

    Where it cannot be compiled or run, or convolves wrongly, the row says so.
    """
    data_set, here = load(), origin.environment()
    before = {"examples_an_epoch": str(experiment.problem.examples(data_set))}
    after = {
        "device": here["device"]["kind"],
        "git_commit": str(here["git_commit"]),
        "date": here["date"],
    }
    compiled: Compiled | Exception
    try:
        compiled = compile_way(experiment, seeds, way, data_set)
    except Exception as error:  # whatever a compiler raises: the others go on
        compiled = error
    return lambda: before | measured(compiled) | after


def compile_way(
    experiment: Experiment, seeds: int, way: Way, data_set: DataSet
) -> Compiled:
    """Compile the training, its start and its evaluation; check the convolutions."""
    one = some(experiment, seeds, way.network)
    built = replicas.build(one, data_set)
    evaluate = program.make_evaluate(one, data_set, placement.on_one_device(one))
    (networks,) = built.networks(one.optimizers[0], built.start())
    for split in (data_set.validation, data_set.test):
        evaluate(*networks, split)
    assert isinstance(one.problem, Images)
    wrong = error(way.convolve, one.problem.channels[0])
    return Compiled(replicas.timed(one, data_set, built), wrong)


def measured(compiled: Compiled | Exception) -> Row:
    """Return the error and the speed of a program, or that it failed."""
    try:
        if isinstance(compiled, Exception):
            raise compiled
        shown = {"error": f"{compiled.error:.4f}"}
        if not compiled.error <= LARGEST_ERROR:
            return shown | dict.fromkeys(replicas.MEASURES, FAILED)
        return shown | replicas.speed(compiled.training)
    except Exception as error:  # also one that its first call raises
        print(error, flush=True)
        return dict.fromkeys(("error", *replicas.MEASURES), FAILED)


def error(convolve: models.Convolve, width: int) -> float:
    """Return the largest error of a bfloat16 convolution, or of its gradient.

    All shapes of the residual network are tried with two replicas of random numbers.
    The error is relative to the norm of what patches give in float32.
    """

    def found(convolve: models.Convolve, stride: int, arrays: Any) -> Any:
        pixels, kernels, grads = arrays
        values, back = jax.vjp(
            lambda x, w: jax.vmap(convolve, (0, 0, None))(x, w, stride), pixels, kernels
        )
        return values, *back(grads)

    @jax.jit
    def largest() -> jax.Array:
        errors = []
        for number, (side, inputs, outputs, stride) in enumerate(shapes(width)):
            keys, out = jax.random.split(jax.random.key(number), 3), side // stride
            arrays = (
                jax.random.normal(keys[0], (2, 8, side, side, inputs), jnp.bfloat16),
                jax.random.normal(keys[1], (2, 3, 3, inputs, outputs), jnp.bfloat16),
                jax.random.normal(keys[2], (2, 8, out, out, outputs), jnp.bfloat16),
            )
            exact = jax.tree.map(lambda x: x.astype(jnp.float32), arrays)
            with jax.default_matmul_precision("highest"):
                expected = found(models.convolve_by_patches, stride, exact)
            for a, b in zip(found(convolve, stride, arrays), expected, strict=True):
                errors.append(norm(a - b) / norm(b))
        return jnp.stack(errors).max()

    return float(largest())


def norm(array: jax.Array) -> jax.Array:
    """Return the Euclidean norm of all entries."""
    return jnp.sqrt(jnp.sum(jnp.square(array)))


def shapes(width: int) -> list[tuple[int, int, int, int]]:
    """Return side, channels in, channels out and stride of each 3x3 convolution."""
    found, before, side = [], width, 32
    for factor, stride in models.STAGES:
        found.append((side, before, factor * width, stride))
        before, side = factor * width, side // stride
        found.append((side, before, before, 1))
    return list(dict.fromkeys(found))


def fastest(found: Sequence[Row]) -> str | None:
    """Return the way with the most examples a second at the same number of seeds."""
    compared = [row for row in of_speed(found) if row["seeds"] == found[0]["seeds"]]
    if not compared:
        return None
    best = max(compared, key=lambda row: float(row[replicas.SPEED]))
    return best["convolution"]


def of_speed(found: Sequence[Row]) -> list[Row]:
    """Return the rows that hold a speed."""
    return [row for row in found if row[replicas.SPEED] != FAILED]


def estimated_speed(found: Sequence[Row], way: str, seeds: int) -> float | None:
    """Return examples a second of so many seeds, from the nearest measured number.

    Fewer seeds than were measured take as many seconds a step, at most.
    """
    own = {
        int(row["seeds"]): float(row[replicas.SPEED])
        for row in of_speed(found)
        if row["convolution"] == way
    }
    if not own:
        return None
    nearest = min(own, key=lambda n: (abs(n - seeds), n))
    return own[nearest] * min(1.0, seeds / nearest)
