"""The library's own fast tests, once on the device: how many pass, and which do not."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import jax

from benchmarks.costs import measurements
from benchmarks.records import origin
from benchmarks.runs.deadline import Deadline

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests" / "library"
FILE, REPORT = "library-tests.csv", "library-tests.xml"
NEEDED = ("pytest", "xdist")
GUESS = 240.0  # seconds
POLL = 0.2  # seconds between two looks at the deadline
FAILED, INTERRUPTED = 1, 2  # exit statuses of pytest
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several processes, one device
# pytest-benchmark warns beside xdist, and warnings are errors.
OPTIONS = ("-m", "not slow", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark")


def run(folder: Path, tests: Path, deadline: Deadline) -> bool:
    """Run the tests unless they ran before; return whether the deadline allowed it.

    They are stopped at the deadline, and counted when they run again from the start.
    """
    if measurements.read(folder / FILE):
        return True
    if missing := [name for name in NEEDED if not importlib.util.find_spec(name)]:
        print(f"The library's tests did not run: no {', '.join(missing)} is installed.")
        return True
    if not tests.exists():
        print(f"The library's tests did not run: {tests} is not there.")
        return True
    deadline.last.setdefault("library tests", GUESS)
    if not deadline.allows("library tests"):
        return False
    print("library tests", flush=True)
    began, report = time.monotonic(), (folder / REPORT).absolute()
    report.unlink(missing_ok=True)
    ended = finish(command(tests, report), deadline)
    if ended in (None, INTERRUPTED):
        return False
    if ended not in (0, FAILED) or not report.is_file():
        print(f"The library's tests did not run: pytest ended with {ended}.")
        return True
    here = origin.environment()
    found = {
        "device": here["device"]["kind"],
        "jax": jax.__version__,
        **counts(report),
        "seconds": f"{time.monotonic() - began:.0f}",
        "git_commit": str(here["git_commit"]),
        "date": here["date"],
    }
    measurements.add(folder / FILE, found)
    return True


def finish(command: Sequence[str], deadline: Deadline) -> int | None:
    """Run a command to its end; return its exit status, None if the deadline came."""
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | SHARED) as process:
        while process.poll() is None:
            if not deadline.allows():
                process.terminate()
                return None
            time.sleep(POLL)
        return process.returncode


def command(tests: Path, report: Path) -> list[str]:
    """Return the command that runs the tests and writes a report."""
    workers = ("-n", str(origin.cores() or 1))
    written = f"--junitxml={report}"
    return [sys.executable, "-m", "pytest", str(tests), *OPTIONS, *workers, written]


def counts(report: Path) -> measurements.Row:
    """Count the tests that passed, failed or were skipped; name those that failed."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    bad = [x for x in cases if {"failure", "error"} & {part.tag for part in x}]
    skipped = [x for x in cases if x.find("skipped") is not None]
    return {
        "passed": str(len(cases) - len(bad) - len(skipped)),
        "failed": str(len(bad)),
        "skipped": str(len(skipped)),
        "names": "; ".join(f"{x.get('classname')}.{x.get('name')}" for x in bad),
    }
