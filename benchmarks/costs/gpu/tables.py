"""The tables of a plan, from its files alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.costs import measurements, timing
from benchmarks.costs.gpu import convolutions, library_tests, update_floor
from benchmarks.costs.gpu.plan import Plan
from benchmarks.costs.speed import replicas, throughput
from benchmarks.costs.speed.table import ways_table
from benchmarks.experiments import Experiment, classify
from benchmarks.records import files, pooled, run_files
from benchmarks.report import markdown, tables
from benchmarks.runs import checkpoint, grid

PUBLISHED = classify.PAPER_CIFAR10


def text(plan: Plan) -> str:
    """All of them, as Markdown; written to plan.md too."""
    timed = measurements.read(plan.folder / update_floor.FILE)
    found = measurements.read(plan.folder / replicas.FILE)
    parts = ["# The plan", "\n".join(markdown.align(status(plan, timed, found)))]
    if convolved := measurements.read(plan.folder / convolutions.FILE):
        lines = markdown.align(convolution_rows(convolved))
        parts += ["# Convolutions", "\n".join(lines), CONVOLUTION_NOTES]
    for experiment in plan.pooled:
        parts += trained_parts(plan, experiment)
    if timed:
        parts += ["# Kernels", "\n".join(markdown.align(kernels(timed))), KERNEL_NOTES]
    if found:
        parts += ["# Lanes", "\n".join(markdown.align(speeds(found))), LANE_NOTES]
        parts += costs(plan, found)
    if apart := measurements.read(plan.folder / throughput.FILE):
        parts += ["# Apart", "\n".join(markdown.align(ways_table(apart))), WAY_NOTES]
    for experiment in plan.experiments:
        parts += trained(plan, experiment)
    if tested := measurements.read(plan.folder / library_tests.FILE):
        parts += ["# The library's tests", *tests_table(tested)]
    parts.append(origin(plan))
    whole = "\n\n".join(parts) + "\n"
    files.write_text(plan.folder / "plan.md", whole)
    return whole


KERNEL_NOTES = f"""\
One update in a loop of {update_floor.UPDATES} with donated params and state, whole \
periods.
Floor: a kernel that reads and writes in place as many bytes as the update has to move;
arrays: of the size of the parameters, the mean over a period. Medians of \
{timing.REPEATS} calls of
each in turns; ratio: of the pairs, with the least and the most."""
CONVOLVED = ("examples a second", "seconds to compile", "error")
CONVOLUTION_NOTES = f"""\
Training of so many seeds of the first pooled experiment, all its optimizers together,
without evaluation: the median of {timing.REPEATS}, the least and the most. Programs are
compiled side by side. In place: kernels of our own; XLA's own: grouped convolutions.
Error: the largest of a convolution or gradient in bfloat16, to patches in float32."""
LANE_NOTES = f"""\
All lanes together, in parts of at most {replicas.PART} steps: the median of \
{timing.REPEATS}, the least and the
most. Lanes are seeds of the experiment's first optimizer. Several programs are compiled
side by side."""
WAY_NOTES = """\
A run a process, all on the one device, examples a second of all together. PyTorch
trains eagerly, in automatic mixed precision, on one batch; it reads and augments
nothing."""


def status(
    plan: Plan, timed: Sequence[measurements.Row], found: Sequence[measurements.Row]
) -> list[markdown.Cells]:
    """How far every item is."""
    cells = [(each, n) for each, several in (*plan.lanes, *plan.plain) for n in several]
    measured = sum(replicas.is_decided(cell, found) for cell in cells)
    tested = len(measurements.read(plan.folder / library_tests.FILE))
    return [
        ("item", "done", "seconds so far", "seconds of training in all"),
        *(pooled_status(plan, each) for each in plan.pooled),
        ("kernels", f"{len(timed)} of {len(update_floor.cells(plan.trees))}", "-", "-"),
        ("lanes", f"{measured} of {len(cells)}", "-", "-"),
        *(experiment_status(plan, each, found) for each in plan.experiments),
        ("library's tests", f"{tested} of 1", "-", "-"),
    ]


def pooled_status(plan: Plan, experiment: Experiment) -> markdown.Cells:
    seeds = [part.seeds for part in pooled.finished(plan.folder / experiment.name)]
    return experiment.name, f"{sum(seeds)} of {experiment.seeds} seeds here", "-", "-"


def experiment_status(
    plan: Plan, experiment: Experiment, found: Sequence[measurements.Row]
) -> markdown.Cells:
    folder = plan.folder / experiment.name
    epochs = experiment.epochs * len(grid.programs(experiment))
    done, seconds = 0, {"compile": 0.0, "run": 0.0}
    if (folder / run_files.META).is_file():
        done, seconds = epochs, files.read_json(folder / run_files.META)["seconds"]
    elif (folder / checkpoint.FOLDER).is_dir():
        reached = checkpoint.reached(folder)
        done = reached.program * experiment.epochs + reached.epoch
        seconds = checkpoint.seconds(folder)
    rate, own = replicas.best(found, experiment), replicas.of(experiment, found)
    estimate = "-"
    if rate:
        examples = int(own[0]["examples_an_epoch"])
        estimate = f"about {experiment.lanes * experiment.epochs * examples / rate:.0f}"
    return (
        experiment.name,
        f"{done} of {epochs} epochs",
        f"{seconds['compile']:.0f} to compile, {seconds['run']:.0f} to run",
        estimate,
    )


def kernels(timed: Sequence[measurements.Row]) -> list[markdown.Cells]:
    header = ("tree", "parameters", "dtype", "optimizer", "arrays", "microseconds")
    return [
        (*header, "floor", "GB/s of the floor", "ratio"),
        *(
            (
                *(row[key] for key in header),
                row["floor_microseconds"],
                row["floor_gigabytes_a_second"],
                f"{row['ratio']} ({row['ratio_low']} to {row['ratio_high']})",
            )
            for row in timed
        ),
    ]


def speeds(found: Sequence[measurements.Row]) -> list[markdown.Cells]:
    middle, low, high, compiling = replicas.MEASURES
    return [
        ("experiment", "batch", "lanes", "examples a second", "seconds to compile"),
        *(
            (
                row["experiment"],
                row["batch_size"],
                row["lanes"],
                f"{row[middle]} ({row[low]} to {row[high]})"
                if replicas.fits(row)
                else replicas.FULL,
                row[compiling] if replicas.fits(row) else "-",
            )
            for row in found
        ),
    ]


def costs(plan: Plan, found: Sequence[measurements.Row]) -> list[str]:
    """Of the first experiment, and of the published one, at the measured speed."""
    paper, *_ = plan.experiments
    rate = replicas.best(found, paper)
    if rate is None:
        return []
    examples = int(replicas.of(paper, found)[0]["examples_an_epoch"])
    at_once = replicas.together(paper)
    one = at_once * paper.epochs * examples / rate
    published = PUBLISHED.lanes * PUBLISHED.epochs * examples / rate
    return [
        f"At this speed {at_once} runs of {paper.epochs} epochs of {paper.name}, "
        f"trained together, take\n{one:.0f} s; the published {PUBLISHED.epochs} epochs "
        f"in {PUBLISHED.lanes} runs would take {published / 3600:.1f} hours, without "
        "compiling\nand evaluating."
    ]


def convolution_rows(found: Sequence[measurements.Row]) -> list[markdown.Cells]:
    middle, low, high, compiling = replicas.MEASURES
    return [
        ("convolution", "seeds", "lanes", *CONVOLVED),
        *(
            (
                row["convolution"],
                row["seeds"],
                row["lanes"],
                row[middle]
                if row[middle] == convolutions.FAILED
                else f"{row[middle]} ({row[low]} to {row[high]})",
                row[compiling],
                row["error"],
            )
            for row in found
        ),
    ]


def trained_parts(plan: Plan, experiment: Experiment) -> list[str]:
    """The report of the finished parts, and what an unfinished one has so far."""
    folder, title = plan.folder / experiment.name, f"# {experiment.name}"
    finished, texts = pooled.finished(folder), [title]
    if finished:
        texts.append(tables.report(folder, plan.command).rstrip())
    for part in pooled.begun(folder):
        path = folder / part.folder / run_files.METRICS
        if part not in finished and path.is_file():
            texts += unfinished(experiment, path)
    return texts if len(texts) > 1 else []


def unfinished(experiment: Experiment, path: Path) -> list[str]:
    metrics = pd.read_csv(path)
    if metrics.empty:
        return []
    return ["\n".join(markdown.align(so_far(experiment, metrics))), SO_FAR_NOTES]


def trained(plan: Plan, experiment: Experiment) -> list[str]:
    """The report of a finished run, or what an unfinished one has so far."""
    folder, title = plan.folder / experiment.name, f"# {experiment.name}"
    if (folder / run_files.META).is_file():
        table = folder / "table.md"
        if not table.is_file():
            return [title, tables.report(folder, plan.command).rstrip()]
        return [title, table.read_text(encoding="utf-8").rstrip()]
    if not (folder / run_files.METRICS).is_file():
        return []
    so_far = unfinished(experiment, folder / run_files.METRICS)
    return [title, *so_far] if so_far else []


SO_FAR_NOTES = "Not finished. +-: standard error over seeds."


def so_far(experiment: Experiment, metrics: pd.DataFrame) -> list[markdown.Cells]:
    """Validation scores of every optimizer and rate at its last evaluation."""
    score = experiment.problem.score
    lines: list[markdown.Cells] = [
        ("optimizer", "rate", "epochs", f"validation {score.title}")
    ]
    by = ["batch_size", "optimizer", "learning_rate"]
    for (_, name, rate), runs in metrics.groupby(by, sort=False):
        last = runs[runs.epoch == runs.epoch.max()]
        values = np.asarray(last[f"validation_{score.name}"])
        epochs = f"{last.epoch.iloc[0]} of {experiment.epochs}"
        lines.append((name, f"{rate:g}", epochs, tables.mean(values)))
    return lines


def tests_table(tested: Sequence[measurements.Row]) -> list[str]:
    """The counts, and the names of the tests that failed."""
    header = ("device", "jax", "passed", "failed", "skipped", "seconds")
    lines = [header, *(tuple(row[key] for key in header) for row in tested)]
    names = [f"Failed: {row['names']}" for row in tested if row["names"]]
    return ["\n".join(markdown.align(lines)), *names]


def origin(plan: Plan) -> str:
    """The command, the device, the time and the versions."""
    meta = files.read_json(plan.folder / run_files.META)
    device, calls = meta["device"], meta["calls"]
    versions = ", ".join(f"{name} {x}" for name, x in meta["versions"].items())
    return (
        f"`{meta['command']}`, called {len(calls)} times for "
        f"{sum(call['seconds'] or 0 for call in calls):.0f} s in all, on "
        f"{device['platform']} ({device['kind']}), {device['cores']} cores; {versions}."
    )
