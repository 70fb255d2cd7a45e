"""A plan for one GPU: what is measured and trained, in order.

The folder of a plan holds a CSV file for each kind of measurement, a folder for each
experiment, plan.md and meta.json. What is there is done. What a deadline stopped goes
on from where it was.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import experiments, models
from benchmarks.costs import measurements
from benchmarks.costs.gpu import convolutions, library_tests, seeds, update_floor
from benchmarks.costs.measurements import Row
from benchmarks.costs.speed import replicas, throughput
from benchmarks.costs.speed.throughput import Subject
from benchmarks.costs.trees import TREES, Trees
from benchmarks.experiments import Experiment, one_gpu
from benchmarks.records import origin, run_files
from benchmarks.runs import checkpoint
from benchmarks.runs.deadline import Deadline, moment
from benchmarks.tasks.classify import Images

COMMAND = "python -m benchmarks gpu --data-dir DIR --out DIR"
COMPILED = "compiled"  # what was compiled once: the next call runs the same programs
AS_IT_IS = convolutions.Way("small", models.convolve_by_patches)
FILES = (
    convolutions.FILE,
    update_floor.FILE,
    replicas.FILE,
    throughput.FILE,
    library_tests.FILE,
    library_tests.REPORT,
    "plan.md",
)
SMALL_TREE = {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)}


Timed = Sequence[tuple[Experiment, int]]
Work = Callable[[float], bool]
Pool = Callable[[Experiment, seeds.Call], bool]


class Plan(NamedTuple):
    """What is measured and trained.

    Attributes:
      folder: of the results.
      data_dir: a folder with CIFAR-10 and a text.
      command: for the meta data.
      ways: to convolve.
      timed: what they are timed on: for each network an experiment and its seeds.
      pooled: experiments that calls on several days and devices train together.
      trees: parameters whose updates are timed.
      counts: experiments with the numbers of replicas that are timed.
      plain: the same with XLA's own convolutions, which may take long to compile.
      processes: experiments that are timed as processes too, and in PyTorch; late, as
        they may fail for want of memory.
      experiments: trained one after the other.
      tests: of the library, which run last.
    """

    folder: Path
    data_dir: Path | None
    command: str = COMMAND
    ways: seeds.Ways = seeds.Ways()
    timed: Timed = one_gpu.TIMED
    pooled: tuple[Experiment, ...] = one_gpu.POOLED
    trees: Trees = TREES
    counts: replicas.Counts = one_gpu.LANES
    plain: replicas.Counts = one_gpu.PLAIN
    processes: tuple[Experiment, ...] = (one_gpu.PAPER,)
    experiments: tuple[Experiment, ...] = one_gpu.PLANNED
    tests: Path = library_tests.TESTS


def tiny(plan: Plan) -> Plan:
    """Return a plan that runs the same code in a minute on a CPU."""
    experiments = tuple(map(tiny_experiment, plan.experiments))
    pooled = tiny_experiment(plan.pooled[0])
    return plan._replace(
        command=f"{plan.command} --tiny",
        ways=seeds.Ways({"as it is": AS_IT_IS}, ("as it is",), (), (1,)),
        timed=((pooled, 1),),
        pooled=(pooled,),
        trees={"one matrix": lambda: SMALL_TREE},
        counts=[(each, (1, 2)) for each in experiments],
        plain=(),
        processes=experiments[-1:],
        experiments=experiments,
        tests=library_tests.TESTS / "test_package.py",
    )


def tiny_experiment(experiment: Experiment) -> Experiment:
    """Return an experiment of two optimizers, which a CPU compiles in seconds."""
    (title, names), *_ = experiment.groups
    few = replace(experiment, groups=((title, names[:2]),), contrasts=(), part=8)
    few = experiments.tiny(few)
    if not isinstance(few.problem, Images):
        return few
    return replace(few, problem=replace(few.problem, network="small", channels=(4, 8)))


def begin(plan: Plan) -> dict[str, Any]:
    """Check the data and the folder; return the meta data of the plan so far.

    Raises:
      FileNotFoundError: data are missing.
      ValueError: data are wrong, or the folder holds the plan of another machine.
    """
    for problem in {
        each.problem.data: each.problem for each in plan.experiments
    }.values():
        problem.load(replicas.data_of(plan.data_dir, problem.data))
    device = origin.environment()["device"]
    wanted = {"command": plan.command, "device": device, "versions": origin.versions()}
    return checkpoint.begun_meta(plan.folder, wanted) or wanted | {"calls": []}


def go_on(plan: Plan, meta: dict[str, Any], minutes: float, began: float) -> bool:
    """Do what fits into the minutes since `began`; return whether all is done."""
    commit = origin.environment()["git_commit"]
    cache = (plan.folder / COMPILED).absolute()
    jax.config.update("jax_compilation_cache_dir", str(cache))
    at = moment(began, minutes)

    def keep(seconds: float | None) -> None:
        call = {"minutes": minutes, "seconds": seconds, "git_commit": commit}
        calls = {"calls": [*meta["calls"], call]}
        run_files.write_meta(plan.folder / run_files.META, meta | calls)

    keep(None)
    finished = all(work(at) for work in works(plan))
    keep(round(time.monotonic() - began, 1))
    left_out = [x for x in plan.pooled if seeds.unseen(x, plan.folder / x.name)]
    return finished and not left_out


def works(plan: Plan) -> list[Work]:
    """Return the items in order; each takes the moment to stop.

    An item returns whether the next one may begin.
    """
    first, *_ = plan.pooled

    def convolve(experiment: Experiment, ways: Sequence[str]) -> Work:
        what = *timed_on(plan, experiment), ways, plan.ways.named
        return lambda at: convolutions.run(
            plan.folder, *what, plan.data_dir, Deadline(at)
        )

    def pool(train: Pool, experiment: Experiment) -> Work:
        where = plan.folder, plan.command, plan.data_dir, plan.ways
        timed, _ = timed_on(plan, experiment)
        return lambda at: train(experiment, seeds.Call(*where, timed.name, at))

    def pool_all(experiment: Experiment) -> list[Work]:
        return [
            convolve(experiment, plan.ways.first),
            pool(seeds.train_all, experiment),
        ]

    def measure(counts: replicas.Counts) -> Work:
        return lambda at: replicas.run(plan.folder, counts, plan.data_dir, Deadline(at))

    return [
        convolve(first, plan.ways.first),
        pool(seeds.train_next, first),
        convolve(first, plan.ways.later),
        *(work for each in plan.pooled for work in pool_all(each)),
        lambda at: update_floor.run(plan.folder, plan.trees, Deadline(at)),
        measure(plan.counts),
        measure(plan.plain),
        *(partial(train, plan, each) for each in plan.experiments),
        partial(measure_processes, plan),
        lambda at: library_tests.run(plan.folder, plan.tests, Deadline(at)),
    ]


def timed_on(plan: Plan, experiment: Experiment) -> tuple[Experiment, int]:
    """Return the experiment with the same network that is timed, and its seeds."""
    return next(x for x in plan.timed if x[0].problem == experiment.problem)


def measure_processes(plan: Plan, at: float) -> bool:
    """Measure runs that are processes; return whether all are measured."""
    subjects = tuple(Subject(each, ()) for each in plan.processes)
    return throughput.run(plan.folder, subjects, plan.data_dir, Deadline(at))


def train(plan: Plan, experiment: Experiment, at: float) -> bool:
    """Train an experiment until a moment; return whether it is finished."""
    folder = plan.folder / experiment.name
    if (folder / run_files.META).is_file():
        return True
    where = plan.folder, plan.command, plan.data_dir, plan.ways
    call = seeds.Call(*where, experiment.name, at)
    guessed = guesses(experiment, measurements.read(plan.folder / replicas.FILE))
    return seeds.train(experiment, folder, call, guessed)


def guesses(experiment: Experiment, found: Sequence[Row]) -> Mapping[str, float]:
    """Estimate the seconds of the pieces of a run from the replicas measured."""
    own, together = replicas.of(experiment, found), replicas.together(experiment)
    compiling = [float(row["compile_seconds"]) for row in own if replicas.fits(row)]
    speed = replicas.best(found, experiment)
    return seeds.pieces(experiment, together, own, speed, max(compiling, default=0.0))
