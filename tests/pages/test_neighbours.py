"""The recipes with other libraries: each script is shown, and has an environment."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs.sources import DOCS, ROOT

FOLDER = ROOT / "examples/neighbours"
FILES = sorted(x.relative_to(ROOT).as_posix() for x in FOLDER.rglob("*.py"))
SHOWN = [path for path in FILES if not path.endswith("__init__.py")]
PAGES = {x.name: x.read_text("utf-8") for x in (DOCS / "recipes").glob("*.md")}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
GROUPS = PYPROJECT["dependency-groups"]
LIBRARIES = (
    "Equinox",
    "Flower",
    "Grain",
    "gymnax",
    "Haiku",
    "jax-privacy",
    "Keras",
    "LoRA",
    "numpyro",
    "optimistix",
    "Orbax",
    "purejaxrl",
    "TensorBoard",
    "tunix",
    "Weights & Biases",
)


def scripts():
    """Return what `tests/neighbours.py` runs, by group."""
    code = "import neighbours; print(neighbours.scripts())"
    tests = ROOT / "tests"
    return eval(subprocess.check_output([sys.executable, "-c", code], cwd=tests))


def test_every_script_runs_in_a_group():
    groups = scripts()
    assert groups.keys() == {name for name in GROUPS if name.startswith("neighbours")}
    run = sorted(x for names in groups.values() for x in names)
    alone = [path for path in SHOWN if "/fedprox/" not in path]  # Flower runs these
    assert run == ["docs/tutorials/federated.py", *alone]


@pytest.mark.parametrize("group", [x for x in GROUPS if x.startswith("neighbours")])
def test_versions_are_bounded(group):
    for requirement in GROUPS[group]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirement), requirement


@pytest.mark.parametrize("path", SHOWN)
def test_every_script_is_on_a_page(path):
    shown = f'title="{path}"\n{{% include "../../{path}" %}}'
    assert [name for name, text in PAGES.items() if shown in text]


@pytest.mark.parametrize("path", [path for path in SHOWN if "/fedprox/" not in path])
def test_every_script_begins_with_its_command_and_checks_a_number(path):
    text = Path(ROOT, path).read_text("utf-8")
    assert text.startswith(f'"""`python {Path(path).name}`: ')
    assert "\nassert " in text or "\n    assert " in text


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_overview_names(library):
    assert library in PAGES["neighbours.md"]


def test_the_overview_names_what_is_installed():
    named = re.findall(r"\| `([\w-]+>=\S+)` \|", PAGES["neighbours.md"])
    assert len(named) == 15
    assert set(named) <= {x for requirements in GROUPS.values() for x in requirements}
