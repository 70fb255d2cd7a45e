"""What methods for tasks in series keep between steps, and how long a step takes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import experiments
from benchmarks.costs import measurements, timing
from benchmarks.costs.measurements import Cell, Column, Measure, Row, with_range
from benchmarks.costs.speed import replicas
from benchmarks.experiments import Experiment
from benchmarks.experiments.continual import CONTINUAL_DIGITS
from benchmarks.optimizers.method import Lesson
from benchmarks.records import files, origin, run_files
from benchmarks.runs import grid
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.program import nbytes
from benchmarks.tasks.problem import DataSet
from benchmarks.training import loop
from benchmarks.training.keys import between_key, init_key
from benchmarks.training.noise import no_noise

KEPT, STEPS, TABLE = "kept.csv", "steps.csv", "table.md"
FILES = (KEPT, STEPS, TABLE)
COMMAND = "python -m benchmarks continual-costs"
SEED, EPOCH = 0, 12  # the second task begins before it
EPOCHS = 10  # whose steps are timed at once
TIMES = ("step_us", "to_base", "after_ms")
NOT_MEASURED = "not measured"

COLUMNS: tuple[Column, ...] = (
    ("method", "method"),
    ("state, in parameters", "state"),
    ("kept examples, bytes", "examples_bytes"),
    ("a step, us", with_range("step_us")),
    ("to the base's", with_range("to_base")),
    ("after a task, ms", with_range("after_ms")),
)
NOTES = f"""\
The network and the batches of {CONTINUAL_DIGITS.name}, float32, one run.

- State: what the optimizer keeps between steps, the base's own with it, in copies of
  the parameters. It is counted from shapes; examples are not in it.
- Kept examples: inputs as the network gets them, and labels. Images as bytes instead of
  floats take a quarter of it.
- A step: gradient and update. The base is the first method of the group; its own row
  shows how far apart two timings of the same work are.
- After a task: what is done once, such as the Fisher information of all its examples.
- Times: medians of {timing.REPEATS} turns with the least and the most, the method and
  its base interleaved; ratios are of the pairs."""


class Subject(NamedTuple):
    """A run of a method, which is trained on tasks in series.

    Attributes:
      name: of the method.
      training: what the loop would get for it.
    """

    name: str
    training: loop.Training

    @property
    def numbers(self) -> Any:
        """Return the numbers of its trial."""
        return self.training.numbers[self.name]

    def start(self) -> loop.Lane:
        """Return the run before its first step."""
        task, method = self.training.task, self.training.methods[self.name]
        params, stats = task.init(init_key(SEED))
        return loop.init_lane(task.measures, method, params, stats, self.numbers)

    def inputs(self) -> Any:
        """Return batch and key of each step of some epochs of the second task."""
        of_epoch = partial(loop.batches_and_keys, self.training.task, None)
        over_epochs = jax.vmap(of_epoch, (None, 0, None))
        found = over_epochs(jnp.int32(SEED), EPOCH + jnp.arange(EPOCHS), 0)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    def steps(self, lane: loop.Lane, inputs: Any) -> tuple[loop.Lane]:
        """Train for a step of each batch and key."""
        (player,) = lane.params

        def step(lane: loop.Lane, now: tuple[Any, Any]) -> tuple[loop.Lane, None]:
            at = lane.params, lane.stats
            *_, grads = loop.gradient(self.training, player, *now, at)
            held = lane.stats, lane.opt_state[player], lane.params[player]
            own, state = loop.update(
                self.training, self.name, *now, self.numbers, grads, *held
            )
            return lane._replace(params={player: own}, opt_state={player: state}), None

        return (jax.lax.scan(step, lane, inputs)[0],)

    def lesson(self, lane: loop.Lane) -> Lesson:
        """Return the first task, when it is finished."""
        series = self.training.task.series
        assert series is not None
        key = between_key(SEED, EPOCH)
        return series.finished(lane.stats, self.training.data, EPOCH, key)

    def after(self, lane: loop.Lane) -> loop.Lane:
        """Let the method keep what it wants of the first task."""
        (player,) = lane.params
        between = self.training.methods[self.name].between
        held = lane.opt_state[player], lane.params[player]
        state = between(self.numbers, self.lesson(lane), *held)
        return lane._replace(opt_state={player: state})


class Works(NamedTuple):
    """What is timed of a method.

    Attributes:
      steps: trains for some steps of the second task.
      after: does what is done once after the first one.
      number: of these steps.
    """

    steps: Callable[[], Any]
    after: Callable[[], Any]
    number: int


def plan(tiny: bool) -> Experiment:
    """Return the experiment whose methods are measured; tiny, it has few of them."""
    if not tiny:
        return CONTINUAL_DIGITS
    names = "plain", "ewc, decoupled", "replay of 10"
    groups = (("", names),)
    small = experiments.tiny(CONTINUAL_DIGITS)
    return replace(small, groups=groups, contrasts=(), primary=())


def run(folder: Path, *, tiny: bool) -> str:
    """Count what methods keep, then time them; write a table after both.

    Measurements that are there already are made anew.
    """
    experiment, command = plan(tiny), COMMAND + " --tiny" * tiny
    for file in FILES:
        (folder / file).unlink(missing_ok=True)
    meta = {"command": command, "versions": origin.versions()} | origin.environment()
    run_files.write_meta(folder / run_files.META, meta)
    data_set = experiment.problem.load(None)
    bases = {name: names[0] for _, names in experiment.groups for name in names}
    subjects = {name: subject(experiment, data_set, name) for name in bases}
    for each in subjects.values():
        measurements.add(folder / KEPT, kept(each))
    write(folder, meta)
    works = {
        name: timing.once(partial(compiled, each)) for name, each in subjects.items()
    }

    def ready(name: str, base: str) -> Measure:
        return partial(measure, works[name](), works[base]())

    cells = [
        Cell({"method": name, "base": base}, partial(ready, name, base))
        for name, base in bases.items()
    ]
    measurements.complete(folder / STEPS, cells, Deadline())
    return write(folder, meta)


def subject(experiment: Experiment, data_set: DataSet, name: str) -> Subject:
    """Return a method at its first trial in an experiment."""
    one = replace(replicas.several(experiment, name, 1), tuning_seeds=0)
    (program,) = grid.programs(one)
    task = one.problem.task(data_set, program.batch_size)
    steps = grid.total_steps(one, one.problem.examples(data_set), program.batch_size)
    methods = grid.methods(one, program, steps)
    numbers = jax.tree.map(lambda x: x[0], grid.number_arrays(one, program))
    held = task, methods, numbers, data_set.train, no_noise, None
    return Subject(name, loop.Training(*held))


def kept(found: Subject) -> Row:
    """Count the bytes that a method keeps between two steps, from shapes alone."""
    lane = jax.eval_shape(found.start)
    (params,), (memory,) = lane.params.values(), lane.opt_state.values()
    size, state = nbytes(params), nbytes(memory._replace(kept=()))

    def recalled(lane: loop.Lane, kept: Any) -> Any:
        return found.lesson(lane).recall(*kept.T)

    examples = jax.eval_shape(recalled, lane, memory.kept) if memory.kept else ()
    return {
        "method": found.name,
        "parameters_bytes": str(size),
        "state_bytes": str(state),
        "state": f"{state / size:.2f}",
        "examples_bytes": str(nbytes(examples)),
    }


def compiled(found: Subject) -> Works:
    """Compile a method's steps and what is done after a task, ready to be timed."""
    like, inputs = jax.eval_shape(found.start), jax.jit(found.inputs)()
    steps = jax.jit(found.steps).lower(like, inputs).compile()
    after = jax.jit(found.after).lower(like).compile()
    (trained,) = steps(jax.jit(found.start)(), inputs)
    again = timing.repeated(steps, (after(trained),), (inputs,))
    return Works(again, partial(after, trained), len(jax.tree.leaves(inputs)[0]))


def measure(own: Works, base: Works) -> Row:
    """Return the times of a step and of what is done after a task."""
    turns = timing.interleaved(base.steps, own.steps, own.after)
    step_us = timing.spread([1e6 * turn[1] / own.number for turn in turns])
    after_ms = timing.spread([1e3 * turn[2] for turn in turns])
    found = step_us, timing.ratio(turns, 1, 0), after_ms
    columns = zip(TIMES, found, (1, 3, 2), strict=True)
    return {key: x for each in columns for key, x in timing.columns(*each).items()}


def write(folder: Path, meta: dict[str, Any]) -> str:
    """Write a table of what is there to table.md, and return it."""
    timed = {row["method"]: row for row in measurements.read(folder / STEPS)}
    missing = dict.fromkeys(TIMES, NOT_MEASURED)
    rows = [
        row | timed.get(row["method"], missing)
        for row in measurements.read(folder / KEPT)
    ]
    device = meta["device"]
    text = (
        f"{measurements.table(rows, COLUMNS)}\n\n{NOTES}\n\n`{meta['command']}` on "
        f"{device['platform']} ({device['kind']}), {device['cores']} cores; "
        f"{origin.listed(meta['versions'])}.\n"
    )
    files.write_text(folder / TABLE, text)
    return text
