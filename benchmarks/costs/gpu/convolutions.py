"""Ways to convolve lanes, timed on what is trained; the fastest one trains it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import models
from benchmarks.costs import measurements, timing
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.records import origin
from benchmarks.runs.deadline import Deadline
from benchmarks.tasks.classify import Images
from benchmarks.tasks.problem import DataSet

FILE = "convolutions.csv"
FAILED = "failed"
GUESS = 40.0  # seconds to compile one, or all of a few side by side
MEASUREMENT = 5.0  # seconds, before one was timed

LARGEST_ERROR = 0.05  # of a way that may train; rounding makes 0.003 to 0.03


class Way(NamedTuple):
    """How lanes convolve.

    Attributes:
      network: that does it.
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

Cells = Sequence[tuple[str, int]]
"""Ways with numbers of seeds."""

CELLS: Cells = (("in place", 3), ("patches", 3))
LATER: Cells = (("XLA's own", 3),)
"""After the first part that trains: what may take long to compile."""


def run(
    folder: Path,
    experiment: Experiment,
    cells: Cells,
    ways: Mapping[str, Way],
    data_dir: Path | None,
    deadline: Deadline,
) -> bool:
    """Time the cells that were not yet; whether the deadline allowed all.

    A cell is the very program that trains so many seeds of the experiment, so that it
    is compiled when they are trained. All that is left is compiled first, side by side.
    """
    done = {
        (row["convolution"], row["seeds"]) for row in measurements.read(folder / FILE)
    }
    left = [(way, seeds) for way, seeds in cells if (way, str(seeds)) not in done]
    deadline.last.setdefault("compile", GUESS)
    deadline.last.setdefault("measurement", MEASUREMENT)
    if not left:
        return True
    if not deadline.allows("compile", "measurement"):
        return False
    problem = experiment.problem
    data_set = problem.load(replicas.data_of(data_dir, problem.data))
    with deadline.timing("compile"):
        works = timing.in_threads(
            [
                partial(ready, experiment, seeds, ways[way], data_set)
                for way, seeds in left
            ]
        )
    here = origin.environment()
    for (way, seeds), work in zip(left, works, strict=True):
        if not deadline.allows("measurement"):
            return False
        print(f"convolutions: {way}, {seeds} seeds", flush=True)
        with deadline.timing("measurement"):
            found = {
                "experiment": experiment.name,
                "convolution": way,
                "seeds": str(seeds),
                "lanes": str(seeds * experiment.lanes // experiment.seeds),
                "examples_an_epoch": str(problem.examples(data_set)),
                **measured(work),
                "device": here["device"]["kind"],
                "git_commit": str(here["git_commit"]),
                "date": here["date"],
            }
        measurements.add(folder / FILE, found)
    return True


def some(
    experiment: Experiment, seeds: int, network: str, first: int = 0
) -> Experiment:
    """So many of an experiment's seeds, with a network."""
    problem = experiment.problem
    assert isinstance(problem, Images)
    return replace(
        experiment,
        seeds=seeds,
        first_seed=first,
        problem=replace(problem, network=network),
    )


class Ready(NamedTuple):
    """What can be timed.

    Attributes:
      work: the training.
      error: of the convolutions.
    """

    work: replicas.Work
    error: float


def ready(experiment: Experiment, seeds: int, way: Way, data_set: DataSet) -> Ready:
    """Compile the training, its start and its evaluation; check the convolutions."""
    one = some(experiment, seeds, way.network)
    built = replicas.build(one, data_set)
    started, name = built.start(), one.optimizers[0]
    for split in (data_set.validation, data_set.test):
        built.evaluate(name, started[name], split)
    assert isinstance(one.problem, Images)
    wrong = error(way.convolve, one.problem.channels[0])
    return Ready(replicas.timed(one, data_set, built), wrong)


def error(convolve: models.Convolve, width: int) -> float:
    """The largest error of a bfloat16 convolution of a residual network, or gradient.

    Relative to the norm of what patches give in float32, for two lanes of random
    numbers.
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
    return jnp.sqrt(jnp.sum(jnp.square(array)))


def shapes(width: int) -> list[tuple[int, int, int, int]]:
    """Of the 3x3 convolutions after the stem: side, channels in and out, stride."""
    found, before, side = [], width, 32
    for factor, stride in models.STAGES:
        found.append((side, before, factor * width, stride))
        before, side = factor * width, side // stride
        found.append((side, before, before, 1))
    return list(dict.fromkeys(found))


def measured(compiled: Future[Ready]) -> measurements.Row:
    """The speed of a program and its error; what cannot run, or is wrong, fails."""
    try:
        work, wrong = compiled.result()
        shown = {"error": f"{wrong:.4f}"}
        if not wrong <= LARGEST_ERROR:
            return shown | dict.fromkeys(replicas.MEASURES, FAILED)
        return shown | replicas.speed(work)
    except Exception as error:  # whatever a compiler raises: the others go on
        print(error, flush=True)
        return dict.fromkeys(("error", *replicas.MEASURES), FAILED)


def fastest(found: Sequence[measurements.Row]) -> str | None:
    """The way with the most examples a second, of those with as many seeds."""
    compared = [row for row in of_speed(found) if row["seeds"] == found[0]["seeds"]]
    if not compared:
        return None
    best = max(compared, key=lambda row: float(row[replicas.MEASURES[0]]))
    return best["convolution"]


def of_speed(found: Sequence[measurements.Row]) -> list[measurements.Row]:
    """The rows that hold one."""
    return [row for row in found if row[replicas.MEASURES[0]] != FAILED]


def speed(found: Sequence[measurements.Row], way: str, seeds: int) -> float | None:
    """Examples a second of so many seeds, from the measured number nearest to it.

    Fewer seeds than were measured take as many seconds a step, at most.
    """
    own = {
        int(row["seeds"]): float(row[replicas.MEASURES[0]])
        for row in of_speed(found)
        if row["convolution"] == way
    }
    if not own:
        return None
    nearest = min(own, key=lambda n: (abs(n - seeds), n))
    return own[nearest] * min(1.0, seeds / nearest)
