"""`python tests/matrix.py`: the library's tests on each Python, with newest and oldest.

Builds the wheel, or takes the one that --wheel names, and looks into it. Then, for
each Python, it installs the wheel with the newest versions that its bounds admit (on
the first also with the oldest, the lower bounds in pyproject.toml), and runs the tests
against it, in a copy outside the checkout. The type checkers read
tests/library/user_types.py against the last installation. It ends with a table.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[1]
SHOWN = ("jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "numpy")
IS_INSTALLED = "import prox_optax as p; assert 'site-packages' in p.__file__, p"
VERSIONS = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
TYPE_CHECKERS = (
    ("mypy", "--strict", "--follow-untyped-imports", "--python-executable"),
    ("pyright", "--pythonpath"),
)


ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def run(*command: object, cwd: Path = ROOT, check: bool = True) -> int:
    """Run a command with nothing of this environment's on its path."""
    print("+", *command, flush=True)
    return subprocess.run(
        [str(x) for x in command], cwd=cwd, env=ENVIRONMENT, check=check
    ).returncode


def interpreter(version: str) -> Path:
    """Of pyenv, or on the path."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(pyenv.glob(f"versions/{version}*/bin/python"))
    on_path = shutil.which(f"python{version}")
    if not found and not on_path:
        sys.exit(f"There is no Python {version}: install it, for example with pyenv.")
    return found[-1] if found else Path(str(on_path))


def floors() -> str:
    """Return the lower bounds of what the tests ask for and we show, for pip."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["examples"], *groups["test"]]
    for name in asked:  # grows: an extra asks for another
        if extra := re.match(r"prox_optax\[(\w+)\]", name):
            asked += extras[extra[1]]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", name) for name in asked]
    return "".join(
        f"{bound[1]}=={bound[2]}\n" for bound in bounds if bound and bound[1] in SHOWN
    )


def wheel(folder: Path) -> Path:
    """Build the wheel."""
    source = folder / "source"  # a clean one: setuptools leaves its files there
    shutil.copytree(ROOT / "prox_optax", source / "prox_optax")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "-w", folder, source)
    (path,) = folder.glob("*.whl")
    return path


def check(path: Path) -> None:
    """Raise unless a wheel holds the package, py.typed and its own description."""
    package = {f"prox_optax/{x.name}" for x in ROOT.glob("prox_optax/*.py")}
    names = {x for x in zipfile.ZipFile(path).namelist() if ".dist-info/" not in x}
    assert names == package | {"prox_optax/py.typed"}, names


def copy(folder: Path) -> Path:
    """Copy the tests that need neither the benchmarks nor the documents."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    others = shutil.ignore_patterns("harness", "pages")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=others)
    shutil.copy(ROOT / "pyproject.toml", folder)
    needs = r"^(from|import) benchmarks"
    for test in (folder / "tests").rglob("test_*.py"):
        if re.search(needs, test.read_text(), re.M):
            test.unlink()
    return folder


def install(folder: Path, python: Path, built: Path, oldest: bool) -> Path:
    """Make a new environment with the wheel and what its tests need."""
    run(python, "-m", "venv", "--clear", folder)
    constraints = folder / "constraints.txt"
    constraints.write_text(floors() if oldest else "")
    executable = folder / "bin/python"
    pip = (executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "pip>=25.1")
    group = f"{ROOT / 'pyproject.toml'}:test"
    ours = f"prox_optax[examples] @ {built.as_uri()}"
    run(*pip, "-c", constraints, ours, "--group", group)
    run(*pip, "pyright")
    return executable


def main(
    python: Annotated[list[str] | None, typer.Option(help="Versions.")] = None,
    pytest: Annotated[str, typer.Option(help="More for pytest, as -k.")] = "",
    oldest: Annotated[bool, typer.Option(help="The lower bounds too.")] = True,
    newest: bool = True,
    given: Annotated[Path | None, typer.Option("--wheel", help="Built.")] = None,
) -> None:
    """Install, test, and print a table; exits 1 where something failed."""
    pythons = python or ["3.11", "3.12", "3.13"]
    cases = [(pythons[0], True)] * oldest + [(v, False) for v in pythons] * newest
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as name:
        built = given.resolve() if given else wheel(Path(name) / "dist")
        check(built)
        tests = copy(Path(name) / "copy")
        for version, is_oldest in cases:
            label = f"{version}-{'oldest' if is_oldest else 'newest'}"
            at = ROOT / "build" / "matrix" / label
            executable = install(at, interpreter(version), built, is_oldest)
            run(executable, "-c", IS_INSTALLED, cwd=tests)
            options = ("-n", 2, "-q", *shlex.split(pytest), "tests", "--pyargs")
            code = run(
                executable,
                "-m",
                "pytest",
                *options,
                "prox_optax",
                cwd=tests,
                check=False,
            )
            shown = subprocess.check_output([executable, "-c", VERSIONS, *SHOWN])
            outcome = "failed" if code else "passed"
            rows.append(f"| {label} | {shown.decode().strip()} | {outcome} |")
            failed |= code != 0
        for checker in TYPE_CHECKERS:
            command = (
                executable,
                "-m",
                *checker,
                executable,
                "tests/library/user_types.py",
            )
            code = run(*command, cwd=tests, check=False)
            rows.append(
                f"| {label} | {checker[0]} | {'failed' if code else 'passed'} |"
            )
            failed |= code != 0
    print(f"| environment | {' '.join(SHOWN)} | tests |\n| --- | --- | --- |")
    print(*rows, sep="\n")
    sys.exit(failed)


if __name__ == "__main__":
    typer.run(main)
