"""`python tests/neighbours.py`: the scripts of examples/neighbours, and a tutorial.

Builds the wheel; then makes an environment for each dependency group `neighbours*` of
pyproject.toml, installs the wheel and the group, and runs the scripts that need it. A
group is a set of libraries whose pins agree: Flower and tunix stand apart. A script
checks its own number. It ends with a table of what ran.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from matrix import ENVIRONMENT, IS_INSTALLED, ROOT, run, wheel

FOLDER = "examples/neighbours"
LONGEST = 1800  # seconds of one script
APART = {
    "docs/tutorials/federated.py": "neighbours-flower",
    f"{FOLDER}/flower_fedprox/run_local.py": "neighbours-flower",
    f"{FOLDER}/tunix_peft.py": "neighbours-tunix",
}


def scripts() -> dict[str, list[str]]:
    """Return the scripts of each group."""
    groups: dict[str, list[str]] = {"neighbours": []}
    found = (x.relative_to(ROOT).as_posix() for x in ROOT.glob(f"{FOLDER}/*.py"))
    for script in sorted({*APART, *found}):
        groups.setdefault(APART.get(script, "neighbours"), []).append(script)
    return groups


def install(folder: Path, group: str, built: Path) -> Path:
    """Make a new environment with the wheel and the group."""
    run(sys.executable, "-m", "venv", "--clear", folder)
    executable = folder / "bin/python"
    pip = (executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "pip>=25.1")
    run(*pip, built, "--group", f"{ROOT / 'pyproject.toml'}:{group}")
    return executable


def outcome(executable: Path, script: str, cwd: Path) -> str:
    """Run a script; return what it printed last, or how it failed."""
    command = (executable, ROOT / script)
    print("+", *command, flush=True)
    try:
        process = subprocess.run(
            command,
            cwd=cwd,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return f"failed: longer than {LONGEST} s"
    print(process.stdout, process.stderr, sep="\n", flush=True)
    last = process.stdout.strip().split("\n")[-1]
    return f"failed: exit {process.returncode}" if process.returncode else last


def main(
    group: Annotated[list[str] | None, typer.Option(help="Run these alone.")] = None,
) -> None:
    """Install, run, and print a table; exits 1 where something failed."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        built = wheel(Path(name) / "dist")
        for each, names in scripts().items():
            if group and each not in group:
                continue
            executable = install(ROOT / "build" / each, each, built)
            run(executable, "-c", IS_INSTALLED, cwd=Path(name))
            for script in names:
                start = time.monotonic()
                found = outcome(executable, script, Path(name))
                seconds = f"{time.monotonic() - start:.0f}"
                rows.append(f"| {script} | {each} | {seconds} | {found} |")
    print("| script | group | seconds | outcome |\n| --- | --- | --- | --- |")
    print(*rows, sep="\n")
    sys.exit(any("| failed: " in row for row in rows))


if __name__ == "__main__":
    typer.run(main)
