"""The limits of the house rules are those that are checked, without exceptions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"][
    "lint"
]
RULES = " ".join((ROOT / "CONTRIBUTING.md").read_text("utf-8").split())
FOLDERS = ("benchmarks", "docs", "examples", "prox_optax")


def stated(words):
    """Return the number that CONTRIBUTING.md states after these words."""
    (number,) = re.findall(rf"{words} (\d+)", RULES)
    return int(number)


def test_ruff_has_the_limits_of_functions():
    assert {"C90", "PLR0915"} <= set(LINT["select"])
    assert LINT["pylint"]["max-statements"] == stated("A function has at most")
    assert LINT["mccabe"]["max-complexity"] == stated("a complexity of at most")


def test_no_function_is_an_exception():
    ignored = sum(LINT["per-file-ignores"].values(), LINT["ignore"])
    assert not [rule for rule in ignored if "C901".startswith(rule) or "PLR" in rule]
    ruff = (sys.executable, "-m", "ruff", "check", "--quiet", "--ignore-noqa")
    found = subprocess.run(
        [*ruff, "--select=C901,PLR0915", "--output-format=concise"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (FOLDERS, "A file has at most"),
        (("tests",), "a file of tests at most"),
    ],
    ids=["code", "tests"],
)
def test_no_file_is_an_exception(folders, words):
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lines = {str(x.relative_to(ROOT)): len(x.read_text().splitlines()) for x in paths}
    assert len(lines) > 10
    most = stated(words)
    assert {name: n for name, n in lines.items() if n > most} == {}
