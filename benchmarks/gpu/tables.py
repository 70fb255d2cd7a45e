"""The tables of a plan, from its files alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import assemble, checkpoint, files, pooled, report, results
from benchmarks.experiments import Experiment, images
from benchmarks.gpu import convolutions, kernel, library_tests
from benchmarks.gpu.plan import Plan
from benchmarks.speed import lanes, rows, timing, ways
from benchmarks.speed.table import ways_table

PUBLISHED = images.PAPER_CIFAR10


def text(plan: Plan) -> str:
    """All of them, as Markdown; written to plan.md too."""
    timed = rows.read(plan.folder / kernel.FILE)
    found = rows.read(plan.folder / lanes.FILE)
    parts = ["# The plan", "\n".join(report.align(status(plan, timed, found)))]
    if convolved := rows.read(plan.folder / convolutions.FILE):
        lines = report.align(convolution_rows(convolved))
        parts += ["# Convolutions", "\n".join(lines), CONVOLUTION_NOTES]
    for experiment in plan.pooled:
        parts += trained_parts(plan, experiment)
    if timed:
        parts += ["# Kernels", "\n".join(report.align(kernels(timed))), KERNEL_NOTES]
    if found:
        parts += ["# Lanes", "\n".join(report.align(speeds(found))), LANE_NOTES]
        parts += costs(plan, found)
    if apart := rows.read(plan.folder / ways.FILE):
        parts += ["# Apart", "\n".join(report.align(ways_table(apart))), WAY_NOTES]
    for experiment in plan.experiments:
        parts += trained(plan, experiment)
    if tested := rows.read(plan.folder / library_tests.FILE):
        parts += ["# The library's tests", *tests_table(tested)]
    parts.append(origin(plan))
    whole = "\n\n".join(parts) + "\n"
    results.write_text(plan.folder / "plan.md", whole)
    return whole


KERNEL_NOTES = f"""\
One update in a loop of {kernel.UPDATES} with donated params and state, whole periods.
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
All lanes together, in parts of at most {lanes.PART} steps: the median of \
{timing.REPEATS}, the least and the
most. Lanes are seeds of the experiment's first optimizer. Several programs are compiled
side by side."""
WAY_NOTES = """\
A run a process, all on the one device, examples a second of all together. PyTorch
trains eagerly, in automatic mixed precision, on one batch; it reads and augments
nothing."""


def status(
    plan: Plan, timed: Sequence[rows.Row], found: Sequence[rows.Row]
) -> list[report.Row]:
    """How far every item is."""
    cells = [(each, n) for each, several in (*plan.lanes, *plan.plain) for n in several]
    measured = sum(lanes.is_decided(cell, found) for cell in cells)
    tested = len(rows.read(plan.folder / library_tests.FILE))
    return [
        ("item", "done", "seconds so far", "seconds of training in all"),
        *(pooled_status(plan, each) for each in plan.pooled),
        ("kernels", f"{len(timed)} of {len(kernel.cells(plan.trees))}", "-", "-"),
        ("lanes", f"{measured} of {len(cells)}", "-", "-"),
        *(experiment_status(plan, each, found) for each in plan.experiments),
        ("library's tests", f"{tested} of 1", "-", "-"),
    ]


def pooled_status(plan: Plan, experiment: Experiment) -> report.Row:
    seeds = [part.seeds for part in pooled.finished(plan.folder / experiment.name)]
    return experiment.name, f"{sum(seeds)} of {experiment.seeds} seeds here", "-", "-"


def experiment_status(
    plan: Plan, experiment: Experiment, found: Sequence[rows.Row]
) -> report.Row:
    folder = plan.folder / experiment.name
    epochs = experiment.epochs * len(assemble.programs(experiment))
    done, seconds = 0, {"compile": 0.0, "run": 0.0}
    if (folder / results.META).is_file():
        done, seconds = epochs, files.read_json(folder / results.META)["seconds"]
    elif (folder / checkpoint.FOLDER).is_dir():
        reached = checkpoint.reached(folder)
        done = reached.program * experiment.epochs + reached.epoch
        seconds = checkpoint.seconds(folder)
    rate, own = lanes.best(found, experiment), lanes.of(experiment, found)
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


def kernels(timed: Sequence[rows.Row]) -> list[report.Row]:
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


def speeds(found: Sequence[rows.Row]) -> list[report.Row]:
    middle, low, high, compiling = lanes.MEASURES
    return [
        ("experiment", "batch", "lanes", "examples a second", "seconds to compile"),
        *(
            (
                row["experiment"],
                row["batch_size"],
                row["lanes"],
                f"{row[middle]} ({row[low]} to {row[high]})"
                if lanes.fits(row)
                else lanes.FULL,
                row[compiling] if lanes.fits(row) else "-",
            )
            for row in found
        ),
    ]


def costs(plan: Plan, found: Sequence[rows.Row]) -> list[str]:
    """Of the first experiment, and of the published one, at the measured speed."""
    paper, *_ = plan.experiments
    rate = lanes.best(found, paper)
    if rate is None:
        return []
    examples = int(lanes.of(paper, found)[0]["examples_an_epoch"])
    at_once = lanes.together(paper)
    one = at_once * paper.epochs * examples / rate
    published = PUBLISHED.lanes * PUBLISHED.epochs * examples / rate
    return [
        f"At this speed {at_once} runs of {paper.epochs} epochs of {paper.name}, "
        f"trained together, take\n{one:.0f} s; the published {PUBLISHED.epochs} epochs "
        f"in {PUBLISHED.lanes} runs would take {published / 3600:.1f} hours, without "
        "compiling\nand evaluating."
    ]


def convolution_rows(found: Sequence[rows.Row]) -> list[report.Row]:
    middle, low, high, compiling = lanes.MEASURES
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
        texts.append(report.report(folder, plan.command).rstrip())
    for part in pooled.begun(folder):
        path = folder / part.folder / results.METRICS
        if part not in finished and path.is_file():
            texts += unfinished(experiment, path)
    return texts if len(texts) > 1 else []


def unfinished(experiment: Experiment, path: Path) -> list[str]:
    metrics = pd.read_csv(path)
    if metrics.empty:
        return []
    return ["\n".join(report.align(so_far(experiment, metrics))), SO_FAR_NOTES]


def trained(plan: Plan, experiment: Experiment) -> list[str]:
    """The report of a finished run, or what an unfinished one has so far."""
    folder, title = plan.folder / experiment.name, f"# {experiment.name}"
    if (folder / results.META).is_file():
        table = folder / "table.md"
        if not table.is_file():
            return [title, report.report(folder, plan.command).rstrip()]
        return [title, table.read_text(encoding="utf-8").rstrip()]
    if not (folder / results.METRICS).is_file():
        return []
    so_far = unfinished(experiment, folder / results.METRICS)
    return [title, *so_far] if so_far else []


SO_FAR_NOTES = "Not finished. +-: standard error over seeds."


def so_far(experiment: Experiment, metrics: pd.DataFrame) -> list[report.Row]:
    """Validation scores of every optimizer and rate at its last evaluation."""
    score = experiment.problem.score
    lines: list[report.Row] = [
        ("optimizer", "rate", "epochs", f"validation {score.title}")
    ]
    by = ["batch_size", "optimizer", "learning_rate"]
    for (_, name, rate), runs in metrics.groupby(by, sort=False):
        last = runs[runs.epoch == runs.epoch.max()]
        values = np.asarray(last[f"validation_{score.name}"])
        epochs = f"{last.epoch.iloc[0]} of {experiment.epochs}"
        lines.append((name, f"{rate:g}", epochs, report.mean(values)))
    return lines


def tests_table(tested: Sequence[rows.Row]) -> list[str]:
    """The counts, and the names of the tests that failed."""
    header = ("device", "jax", "passed", "failed", "skipped", "seconds")
    lines = [header, *(tuple(row[key] for key in header) for row in tested)]
    names = [f"Failed: {row['names']}" for row in tested if row["names"]]
    return ["\n".join(report.align(lines)), *names]


def origin(plan: Plan) -> str:
    """The command, the device, the time and the versions."""
    meta = files.read_json(plan.folder / results.META)
    device, calls = meta["device"], meta["calls"]
    versions = ", ".join(f"{name} {x}" for name, x in meta["versions"].items())
    return (
        f"`{meta['command']}`, called {len(calls)} times for "
        f"{sum(call['seconds'] or 0 for call in calls):.0f} s in all, on "
        f"{device['platform']} ({device['kind']}), {device['cores']} cores; {versions}."
    )
