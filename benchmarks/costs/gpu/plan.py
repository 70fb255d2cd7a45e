"""What one GPU is asked, in order: its speed, then the experiments made for one.

A folder holds a plan: kernel.csv, lanes.csv, a folder each experiment, plan.md and
meta.json. What is there is done; what a deadline stopped goes on from where it was.
"""

import json
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
from benchmarks.costs.gpu import convolutions, parts, update_floor
from benchmarks.costs.speed import replicas, throughput
from benchmarks.costs.speed.throughput import Subject
from benchmarks.costs.trees import TREES
from benchmarks.experiments import Experiment, one_gpu
from benchmarks.records import files, origin, run_files
from benchmarks.runs import checkpoint, grid
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import prepare, run
from benchmarks.tasks.classify import Images

COMMAND = "python -m benchmarks gpu --data-dir DIR --out DIR"
COMPILED = "compiled"  # what was compiled once: the next call runs the same programs
GUESS = 90.0  # seconds to compile what no lanes were measured of
RESERVE = 20.0  # seconds, for the imports before and the tables after
AS_IT_IS = convolutions.Way("small", models.convolve_by_patches)
FILES = (
    convolutions.FILE,
    update_floor.FILE,
    replicas.FILE,
    throughput.FILE,
    "plan.md",
)
SMALL_TREE = {"w": jax.ShapeDtypeStruct((64, 64), jnp.float32)}

Counts = Sequence[tuple[Experiment, Sequence[int]]]


class Plan(NamedTuple):
    """What is to be measured and trained.

    Attributes:
      folder: of the results.
      data_dir: a folder with CIFAR-10 and a text.
      command: for the meta data.
      ways: of convolving, timed on the first of the pooled experiments.
      pooled: experiments that calls on several days and devices train together.
      trees: whose updates are timed.
      lanes: experiments with the numbers of lanes that are timed.
      plain: the same, after the others: they may take long to compile.
      apart: what is timed as processes of their own too, and in PyTorch; at the very
        end, as they may fail for want of memory.
      experiments: in their order.
    """

    folder: Path
    data_dir: Path | None
    command: str = COMMAND
    ways: parts.Ways = parts.Ways()
    pooled: tuple[Experiment, ...] = one_gpu.POOLED
    trees: update_floor.Trees = TREES
    lanes: Counts = one_gpu.LANES
    plain: Counts = one_gpu.PLAIN
    apart: tuple[Experiment, ...] = (one_gpu.PAPER,)
    experiments: tuple[Experiment, ...] = one_gpu.PLANNED


def tiny(plan: Plan) -> Plan:
    """The same lines in a minute on a CPU."""
    experiments = tuple(map(tiny_experiment, plan.experiments))
    return plan._replace(
        command=f"{plan.command} --tiny",
        ways=parts.Ways({"as it is": AS_IT_IS}, (("as it is", 1),), (), (1,)),
        pooled=tuple(map(tiny_experiment, plan.pooled[:1])),
        trees={"one matrix": lambda: SMALL_TREE},
        lanes=[(each, (1, 2)) for each in experiments],
        plain=(),
        apart=experiments[-1:],
        experiments=experiments,
    )


def tiny_experiment(experiment: Experiment) -> Experiment:
    """Two optimizers, and no residual network: a CPU takes long to compile one."""
    (title, names), *_ = experiment.groups
    few = replace(experiment, groups=((title, names[:2]),), contrasts=(), part=8)
    few = experiments.tiny(few)
    if not isinstance(few.problem, Images):
        return few
    return replace(few, problem=replace(few.problem, network="small", channels=(4, 8)))


def start(plan: Plan) -> dict[str, Any]:
    """What the meta data say of the plan, once the data and the folder were checked.

    Raises:
      FileNotFoundError, ValueError: of the data, or of what the folder holds.
    """
    for problem in {
        each.problem.data: each.problem for each in plan.experiments
    }.values():
        problem.load(replicas.data_of(plan.data_dir, problem.data))
    device = origin.environment()["device"]
    wanted = {"command": plan.command, "device": device, "versions": origin.versions()}
    return checkpoint.begun(plan.folder, wanted) or wanted | {"calls": []}


def go_on(plan: Plan, meta: dict[str, Any], minutes: float, began: float) -> bool:
    """Do what fits into the minutes since `began`; whether the plan is finished."""
    commit = origin.environment()["git_commit"]
    cache = (plan.folder / COMPILED).absolute()
    jax.config.update("jax_compilation_cache_dir", str(cache))
    at = began + 60 * minutes - min(RESERVE, 6 * minutes)

    def keep(seconds: float | None) -> None:
        call = {"minutes": minutes, "seconds": seconds, "git_commit": commit}
        text = json.dumps(meta | {"calls": [*meta["calls"], call]}, indent=2)
        files.write_text(plan.folder / run_files.META, text + "\n")

    keep(None)
    finished = all(work(at) for work in works(plan))
    keep(round(time.monotonic() - began, 1))
    return finished


def works(plan: Plan) -> list[Callable[[float], bool]]:
    """In order; each takes the moment to stop and says whether it is finished."""
    return [
        partial(measure_convolutions, plan, plan.ways.cells),
        partial(train_parts, plan, parts.train_one, plan.pooled[0]),
        partial(measure_convolutions, plan, plan.ways.later),
        *(partial(train_parts, plan, parts.go_on, each) for each in plan.pooled),
        lambda at: update_floor.run(plan.folder, plan.trees, Deadline(at)),
        partial(measure_lanes, plan, plan.lanes),
        partial(measure_lanes, plan, plan.plain),
        *(partial(train, plan, each) for each in plan.experiments),
        partial(measure_apart, plan),
    ]


def measure_convolutions(plan: Plan, cells: convolutions.Cells, at: float) -> bool:
    return convolutions.run(
        plan.folder,
        plan.pooled[0],
        cells,
        plan.ways.named,
        plan.data_dir,
        Deadline(at),
    )


def train_parts(
    plan: Plan, train: Callable[..., bool], experiment: Experiment, at: float
) -> bool:
    return train(experiment, plan.folder, plan.ways, plan.command, plan.data_dir, at)


def measure_lanes(plan: Plan, counts: Counts, at: float) -> bool:
    cells = [(each, n) for each, several in counts for n in several]
    return replicas.run(plan.folder, cells, plan.data_dir, Deadline(at))


def measure_apart(plan: Plan, at: float) -> bool:
    subjects = tuple(Subject(each, ()) for each in plan.apart)
    return throughput.run(plan.folder, subjects, plan.data_dir, Deadline(at))


def train(plan: Plan, experiment: Experiment, at: float) -> bool:
    folder = plan.folder / experiment.name
    if (folder / run_files.META).is_file():
        return True
    prepared = prepare(
        experiment,
        plan.command,
        folder,
        resume=(folder / checkpoint.FOLDER / checkpoint.RUN).is_file(),
        data_dir=replicas.data_of(plan.data_dir, experiment.problem.data),
    )
    found = measurements.read(plan.folder / replicas.FILE)
    return prepared is None or run(prepared, Deadline(at, guesses(experiment, found)))


def guesses(
    experiment: Experiment, found: Sequence[measurements.Row]
) -> Mapping[str, float]:
    """Seconds that parts of a run will take, from the lanes that were measured."""
    own = replicas.of(experiment, found)
    speed, at_once = replicas.best(found, experiment), replicas.together(experiment)
    if speed is None:
        return {"compile": GUESS, "evaluation": GUESS}
    batch_size = experiment.batch_sizes[0]
    examples = int(own[0]["examples_an_epoch"])
    part = grid.parts(experiment, examples, batch_size).step
    compiling = max(float(row["compile_seconds"]) for row in own if replicas.fits(row))
    return {
        "compile": compiling,
        "evaluation": compiling,
        "part": at_once * batch_size * part / speed,
    }
