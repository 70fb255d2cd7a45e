"""Run the experiments, redraw their reports, measure what updates and training cost."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end without a traceback

import importlib.util
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from benchmarks import experiments
from benchmarks.costs import continual
from benchmarks.costs.gpu import convolutions, seeds
from benchmarks.costs.gpu import plan as plans
from benchmarks.costs.gpu import table as plan_table
from benchmarks.costs.speed import plan as speed
from benchmarks.costs.traffic import plan as traffic
from benchmarks.costs.traffic import step
from benchmarks.costs.traffic.targets import UnavailableError
from benchmarks.records import pooled, run_files
from benchmarks.records.files import DamagedError
from benchmarks.report import tables
from benchmarks.runs import errors, folders, hosts, overview, signals, weights
from benchmarks.runs.deadline import Deadline, moment
from benchmarks.runs.execute import execute, follow, prepare, status, stopped
from benchmarks.runs.options import (
    Again,
    Coordinator,
    DataDir,
    DataSets,
    Debug,
    Epochs,
    Folder,
    Length,
    Measured,
    Minutes,
    Name,
    OfTiny,
    Out,
    Parts,
    Process,
    Prompt,
    Redrawn,
    Resume,
    Seed,
    StopAfter,
    Temperature,
    Tiny,
)
from benchmarks.tasks.problem import Request, Sampler

# On a GPU the compiler of jax 0.11.2 dies where it tiles matmuls of patches for Triton.
NO_TRITON = "--xla_gpu_enable_triton_gemm=false"
if any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin"))):
    os.environ["XLA_FLAGS"] = f"{NO_TRITON} {os.environ.get('XLA_FLAGS', '')}"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@contextmanager
def errors_told(debug: bool) -> Iterator[None]:
    """Print an error of files or values as a sentence, and exit with 1."""
    try:
        yield
    except (OSError, ValueError, UnavailableError) as error:
        if debug or isinstance(error, BrokenPipeError):
            raise
        print(errors.sentence(error), file=sys.stderr)
        raise typer.Exit(1) from None


def find(name: str, tiny: bool) -> experiments.Experiment:
    """Return the experiment of a name, if need be made tiny."""
    if name not in experiments.EXPERIMENTS:
        known = ", ".join(experiments.EXPERIMENTS)
        raise typer.BadParameter(f"No experiment {name!r}; there is: {known}")
    experiment = experiments.EXPERIMENTS[name]
    return experiments.tiny(experiment) if tiny else experiment


@app.command("list")
def list_experiments() -> None:
    """List the experiments: what each answers and takes, and what was run where.

    Memory is counted, not measured: the parameters, optimizer states and gradients of
    all runs that are trained together. Activations, data and the program come on top.
    """
    for experiment in experiments.EXPERIMENTS.values():
        print("\n".join(overview.describe(experiment)))


@app.command("run")
def run_experiment(
    name: Name,
    tiny: Tiny = False,
    resume: Resume = False,
    epochs: Epochs = None,
    minutes: StopAfter = None,
    data_dir: DataDir = None,
    out: Out = None,
    coordinator: Coordinator = None,
    process: Process = None,
    debug: Debug = False,
) -> None:
    """Train all runs of an experiment, write the results and print the table.

    SIGINT, SIGTERM or --minutes stops it after a checkpoint; --resume goes on from
    there. A run uses all GPUs, or all CPU cores; --coordinator adds those of other
    hosts.
    """
    began = time.monotonic()
    experiment = find(name, tiny)
    command = run_command(name, tiny)
    if epochs is not None:
        longer = f"{experiment.name}-{epochs}-epochs"
        with errors_told(debug):
            experiment = replace(experiment, name=longer, epochs=epochs)
        command += f" --epochs {epochs}"
    whole = command
    if data_dir is not None:
        whole += f" --data-dir {shlex.quote(str(data_dir))}"
        command += " --data-dir DIR"
    if out is not None:
        whole += f" --out {shlex.quote(str(out))}"
    if minutes is not None:
        whole += f" --minutes {minutes:g}"
    folder = out or run_files.FOLDER / experiment.name
    hosts.fill_cores()
    with errors_told(debug), signals.listening(), hosts.joined(coordinator, process):
        if not hosts.is_first():
            follow(experiment, data_dir)
            return
        with errors.resumable(folder, whole):
            run = prepare(experiment, command, folder, resume=resume, data_dir=data_dir)
            if not execute(run, Deadline(moment(began, minutes))):
                print(f"{stopped(run)} Go on with: {whole} --resume")
                raise typer.Exit(status(run))
    show(folder, command, debug)


@app.command("report")
def report_experiment(
    name: Redrawn = None,
    tiny: OfTiny = False,
    out: Folder = None,
    debug: Debug = False,
) -> None:
    """Redraw tables and figures from the results of a run, without training."""
    if name is not None:
        folder = out or run_files.FOLDER / find(name, tiny).name
        show(folder, run_command(name, tiny), debug)
        return
    finished = sorted(path for path in run_files.FOLDER.glob("*") if is_finished(path))
    if not finished:
        print(f"No results in {run_files.FOLDER}: name an experiment, as `list` does.")
        raise typer.Exit(1)
    status = 0
    for folder in finished:
        try:
            show(folder, run_command(folder.name, tiny), debug)
        except typer.Exit as told:
            status = told.exit_code
    raise typer.Exit(status)


@app.command("sample")
def sample(
    name: Name,
    tiny: OfTiny = False,
    out: Folder = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    prompt: Prompt = "\n",
    length: Length = 500,
    temperature: Temperature = 1.0,
    debug: Debug = False,
) -> None:
    """Make text or pictures with the weights of a run, in its folder samples/."""
    experiment = find(name, tiny)
    folder = out or run_files.FOLDER / experiment.name
    if not isinstance(experiment.problem, Sampler):
        raise typer.BadParameter(f"{name} classifies: there is nothing to sample.")
    request = Request(folder / "samples", data_dir, seed, prompt, length, temperature)
    with errors_told(debug):
        try:
            kept = weights.load(folder, experiment.problem.abstract())
        except (FileNotFoundError, DamagedError) as error:
            raise type(error)(
                f"{error}\nRun first: {run_command(name, tiny)}"
            ) from error
        written = experiment.problem.sample(kept, request)
    for path in written:
        print(os.path.relpath(path))


@app.command("traffic")
def measure_traffic(
    tiny: Tiny = False, out: Measured = None, debug: Debug = False
) -> None:
    """Count the bytes that an update moves, compiled for CPU, GPU and TPU."""
    folder = out or run_files.FOLDER / ("traffic" + "-tiny" * tiny)
    with errors_told(debug), folders.measuring(folder, ("table.md", "traffic.csv")):
        found = traffic.run(folder, tiny=tiny)
    print(found.text)
    if not found.ok:
        raise typer.Exit(1)


@app.command("lanes")
def count_lanes(out: Measured = None, debug: Debug = False) -> None:
    """Count the bytes that a training step of many runs moves, compiled for an H100.

    Run it as .venv-traffic/bin/python -m benchmarks lanes: `make traffic` installs this
    Python.
    """
    folder = out or run_files.FOLDER / "traffic"
    with errors_told(debug), folders.measuring(folder, step.FILES, step.META):
        print(step.run(folder))


@app.command("speed")
def measure_speed(
    data_dir: DataSets = None,
    tiny: Tiny = False,
    resume: Resume = False,
    out: Measured = None,
    debug: Debug = False,
) -> None:
    """Time updates, training steps and many runs at once on this machine.

    PyTorch is timed beside them if it is installed. All takes less than an hour on 2
    CPU cores. --tiny needs no CIFAR-10, only a .txt file.
    """
    plan = speed.tiny() if tiny else speed.ALL
    folder = out or run_files.FOLDER / ("speed-tiny" if tiny else "speed")
    with errors_told(debug), folders.measuring(folder, (*speed.FILES, "table.md")):
        print(speed.run(plan, folder, data_dir, resume=resume))


@app.command("continual-costs")
def measure_series(
    tiny: Tiny = False, out: Measured = None, debug: Debug = False
) -> None:
    """Time a step of each method for tasks in series, and count what it keeps."""
    folder = out or run_files.FOLDER / ("continual-costs" + "-tiny" * tiny)
    with errors_told(debug), folders.measuring(folder, continual.FILES):
        print(continual.run(folder, tiny=tiny))


@app.command("gpu")
def ask_gpu(
    out: Parts,
    minutes: Minutes = 8.0,
    data_dir: DataSets = None,
    again: Again = 0.0,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Time one GPU and train the experiments that are made for one.

    A call does as much as fits into its minutes; the same command goes on.
    """
    began = time.monotonic()
    plan = plans.Plan(out, data_dir, ways=seeds.Ways(again=60 * again))
    plan = plans.tiny(plan) if tiny else plan
    with errors_told(debug), signals.listening(), folders.measuring(out, plans.FILES):
        finished = plans.go_on(plan, plans.begin(plan), minutes, began)
        print(plan_table.write(plan))
        number = signals.asked()
    if not finished:
        print("Stopped in time: the same command with the same --out goes on.")
        if number:
            raise typer.Exit(signals.status(number))
        if not (out / convolutions.FILE).is_file():
            print("Nothing was measured: give more --minutes.", file=sys.stderr)
            raise typer.Exit(1)


def run_command(name: str, tiny: bool) -> str:
    """Write the command that runs an experiment."""
    return f"python -m benchmarks run {name}" + (" --tiny" if tiny else "")


def is_finished(folder: Path) -> bool:
    """Say whether a run, or a part of a pooled one, ended in a folder."""
    own = (run_files.METRICS, run_files.META)
    is_run = all((folder / name).is_file() for name in own)
    return is_run or bool(pooled.finished_parts(folder))


def show(folder: Path, command: str, debug: bool) -> None:
    """Redraw the report of a folder, print its tables and name its files."""
    with errors_told(debug):
        text = tables.report(folder, command)
    names = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
    print(text)
    print(f"Files in {os.path.relpath(folder)}: {names}")


if __name__ == "__main__":
    if "--debug" not in sys.argv:
        sys.unraisablehook = lambda _: None  # of threads that an error leaves behind
    app()
