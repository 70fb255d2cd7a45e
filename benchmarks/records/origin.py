"""The origin of a result: device, commit, day and versions."""

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import prox_optax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    own = {"python": platform.python_version(), "prox_optax": prox_optax.__version__}
    return own | found


def listed(versions: Mapping[str, str]) -> str:
    """Return versions as a line of text."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def environment() -> dict[str, Any]:
    """Return the device, the commit and the day."""
    device = jax.devices()[0]
    return {
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "machine": platform.machine(),
            "cores": cores(),
        },
        "git_commit": _archived_commit() or _git_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def cores() -> int | None:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _archived_commit() -> str | None:
    """Read the commit that `git archive` wrote into commit.txt; None in a checkout."""
    text = (Path(__file__).parent / "commit.txt").read_text(encoding="utf-8").strip()
    return text if re.fullmatch("[0-9a-f]{40}", text) else None


def _git_commit() -> str | None:
    """Ask git for the commit, with -dirty if files differ; None if it has none."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    process = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return process.stdout.strip() or None
