"""Tables of a plan for one GPU, from its files alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.costs import measurements, timing
from benchmarks.costs.gpu import convolutions, library_tests, update_floor
from benchmarks.costs.gpu.plan import Plan
from benchmarks.costs.measurements import Column, Row, with_range
from benchmarks.costs.speed import replicas, throughput
from benchmarks.costs.speed.table import THROUGHPUT
from benchmarks.experiments import Experiment, classify
from benchmarks.records import files, pooled, run_files
from benchmarks.records.origin import listed
from benchmarks.report import markdown, tables
from benchmarks.report.markdown import Cells
from benchmarks.report.statistics import CONFIDENCE
from benchmarks.runs import checkpoint, grid

PUBLISHED = classify.PAPER_CIFAR10


def write(plan: Plan) -> str:
    """Write all tables as Markdown to plan.md, and return them."""
    read = {file: measurements.read(plan.folder / file) for file in CSV_FILES}
    found = read[replicas.FILE]

    def section(title: str, file: str, columns: Columns, *notes: str) -> list[str]:
        rows = read[file]
        return [title, measurements.table(rows, columns), *notes] if rows else []

    failed = [f"Failed: {x['names']}" for x in read[library_tests.FILE] if x["names"]]
    parts = [
        "# The plan",
        "\n".join(markdown.align(status(plan, read))),
        *section("# Convolutions", convolutions.FILE, CONVOLVED, CONVOLUTION_NOTES),
        *(text for each in plan.pooled for text in trained_parts(plan, each)),
        *section("# Updates", update_floor.FILE, UPDATES, UPDATE_NOTES),
        *section("# Replicas", replicas.FILE, REPLICAS, REPLICA_NOTES),
        *costs(plan, found),
        *section("# Processes", throughput.FILE, THROUGHPUT, PROCESS_NOTES),
        *(text for each in plan.experiments for text in trained(plan, each)),
        *section("# The library's tests", library_tests.FILE, TESTS, *failed),
        footer(plan),
    ]
    whole = "\n\n".join(parts) + "\n"
    files.write_text(plan.folder / "plan.md", whole)
    return whole


Columns = Sequence[Column]
CSV_FILES = (
    *(convolutions.FILE, update_floor.FILE, replicas.FILE),
    *(throughput.FILE, library_tests.FILE),
)
UPDATES: Columns = (
    *((x, x) for x in ("tree", "parameters", "dtype", "optimizer", "arrays")),
    ("microseconds", "microseconds"),
    ("floor", "floor_microseconds"),
    ("GB/s of the floor", "floor_gigabytes_a_second"),
    ("ratio", with_range("ratio")),
)
CONVOLVED: Columns = (
    *((x, x) for x in ("experiment", "convolution", "seeds")),
    ("runs", "lanes"),
    ("examples a second", with_range(replicas.SPEED)),
    ("seconds to compile", "compile_seconds"),
    ("error", "error"),
)
REPLICAS: Columns = (
    *(("experiment", "experiment"), ("batch", "batch_size"), ("replicas", "lanes")),
    ("examples a second", with_range(replicas.SPEED)),
    (
        "seconds to compile",
        lambda row: row["compile_seconds"] if replicas.fits(row) else "-",
    ),
)
TESTS: Columns = tuple(
    (x, x) for x in ("device", "jax", "passed", "failed", "skipped", "seconds")
)
UPDATE_NOTES = f"""\
Microseconds of one update in a loop of {update_floor.UPDATES}, with donated params and
state, over whole periods. Arrays: how many of the size of the parameters an update
moves, the mean over a period. Floor: a kernel that reads and writes as many bytes in
place. The two are interleaved: medians of {timing.REPEATS} calls. Ratio: the median of
the pairs, with the least and the most."""
CONVOLUTION_NOTES = f"""\
Training of so many seeds of an experiment, all its optimizers together,
without evaluation: the median of {timing.REPEATS}, the least and the most. Programs are
compiled side by side. In place: kernels of our own; XLA's own: grouped convolutions.
Error: the largest of a convolution or gradient in bfloat16, to patches in float32."""
REPLICA_NOTES = f"""\
Examples a second of all replicas together, in parts of at most {replicas.PART} steps:
the median of {timing.REPEATS}, the least and the most. Replicas are seeds of the
experiment's first optimizer. Several programs are compiled side by side."""
PROCESS_NOTES = """\
Examples a second of all runs together. Each run is a process; all share the one device.
PyTorch trains eagerly, in automatic mixed precision, on one batch; it reads and
augments nothing."""


def status(plan: Plan, read: Mapping[str, Sequence[Row]]) -> list[Cells]:
    """Return a row for each item: how far it is."""
    timed, found = read[update_floor.FILE], read[replicas.FILE]
    keys = [
        replicas.key(experiment, n)
        for experiment, several in (*plan.counts, *plan.plain)
        for n in several
    ]
    decided = sum(replicas.is_decided(key, found) for key in keys)
    updates, tested = update_floor.cells(plan.trees), read[library_tests.FILE]
    return [
        ("item", "done", "seconds so far", "seconds of training in all"),
        *(pooled_status(plan, each) for each in plan.pooled),
        ("updates", f"{len(timed)} of {len(updates)}", "-", "-"),
        ("replicas", f"{decided} of {len(keys)}", "-", "-"),
        *(experiment_status(plan, each, found) for each in plan.experiments),
        ("library's tests", f"{len(tested)} of 1", "-", "-"),
    ]


def pooled_status(plan: Plan, experiment: Experiment) -> Cells:
    """Return how many seeds of a pooled experiment are in this folder."""
    finished = pooled.finished_parts(plan.folder / experiment.name)
    seeds = [part.seeds for part in finished]
    return experiment.name, f"{sum(seeds)} of {experiment.seeds} seeds here", "-", "-"


def experiment_status(
    plan: Plan, experiment: Experiment, found: Sequence[Row]
) -> Cells:
    """Return how far an experiment is, and the seconds that it took and needs."""
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
        estimate = f"about {experiment.runs * experiment.epochs * examples / rate:.0f}"
    return (
        experiment.name,
        f"{done} of {epochs} epochs",
        f"{seconds['compile']:.0f} to compile, {seconds['run']:.0f} to run",
        estimate,
    )


def costs(plan: Plan, found: Sequence[Row]) -> list[str]:
    """Estimate the seconds of the first and the published experiment."""
    paper, *_ = plan.experiments
    rate = replicas.best(found, paper)
    if rate is None:
        return []
    examples = int(replicas.of(paper, found)[0]["examples_an_epoch"])
    at_once = replicas.together(paper)
    one = at_once * paper.epochs * examples / rate
    published = PUBLISHED.runs * PUBLISHED.epochs * examples / rate
    return [
        f"At this speed {at_once} runs of {paper.epochs} epochs of {paper.name}, "
        f"trained together, take\n{one:.0f} s; the published {PUBLISHED.epochs} epochs "
        f"in {PUBLISHED.runs} runs would take {published / 3600:.1f} hours, without "
        "compiling\nand evaluating."
    ]


def trained_parts(plan: Plan, experiment: Experiment) -> list[str]:
    """Return the report of the finished parts, and how far unfinished ones are."""
    folder, title = plan.folder / experiment.name, f"# {experiment.name}"
    finished, texts = pooled.finished_parts(folder), [title]
    if finished:
        texts.append(tables.report(folder, plan.command).rstrip())
    for part in pooled.begun_parts(folder):
        path = folder / part.folder / run_files.METRICS
        if part not in finished and path.is_file():
            texts += unfinished(experiment, path)
    return texts if len(texts) > 1 else []


def unfinished(experiment: Experiment, path: Path) -> list[str]:
    """Return the table of a run that is not finished; nothing without a row."""
    metrics = pd.read_csv(path)
    if metrics.empty:
        return []
    return ["\n".join(markdown.align(so_far(experiment, metrics))), SO_FAR_NOTES]


def trained(plan: Plan, experiment: Experiment) -> list[str]:
    """Return the report of a finished run, or how far an unfinished one is."""
    folder, title = plan.folder / experiment.name, f"# {experiment.name}"
    if (folder / run_files.META).is_file():
        drawn = folder / "table.md"
        if not drawn.is_file():
            return [title, tables.report(folder, plan.command).rstrip()]
        return [title, drawn.read_text(encoding="utf-8").rstrip()]
    if not (folder / run_files.METRICS).is_file():
        return []
    so_far = unfinished(experiment, folder / run_files.METRICS)
    return [title, *so_far] if so_far else []


SO_FAR_NOTES = (
    f"Not finished. +- is half of the {CONFIDENCE:.0%} interval (Student's t) over "
    "seeds."
)


def so_far(experiment: Experiment, metrics: pd.DataFrame) -> list[Cells]:
    """Return a row for each optimizer and rate: its last validation scores."""
    score = experiment.problem.score
    lines: list[Cells] = [("optimizer", "rate", "epochs", f"validation {score.title}")]
    by = ["batch_size", "optimizer", "learning_rate"]
    for (_, name, rate), runs in metrics.groupby(by, sort=False):
        last = runs[runs.epoch == runs.epoch.max()]
        values = np.asarray(last[f"validation_{score.name}"])
        epochs = f"{last.epoch.iloc[0]} of {experiment.epochs}"
        lines.append((name, f"{rate:g}", epochs, tables.mean(values)))
    return lines


def footer(plan: Plan) -> str:
    """Return the command, the device, the time and the versions."""
    meta = files.read_json(plan.folder / run_files.META)
    device, calls = meta["device"], meta["calls"]
    versions = listed(meta["versions"])
    return (
        f"`{meta['command']}`, called {len(calls)} times for "
        f"{sum(call['seconds'] or 0 for call in calls):.0f} s in all, on "
        f"{device['platform']} ({device['kind']}), {device['cores']} cores; {versions}."
    )
