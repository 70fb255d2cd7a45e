"""The README is true: its code runs, its numbers come from the committed results."""

import re
from pathlib import Path

import pytest

import prox_optax

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.splitlines()) < 120


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_code_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_every_public_name_has_a_row():
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    for name in prox_optax.__all__:
        assert any(f"`{name}" in row for row in rows), name


def test_the_table_is_the_demos():
    table = (ROOT / "benchmarks/results/demo/table.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows
    assert "\n".join(rows) in README


@pytest.mark.parametrize(
    "page", ["README.md", "benchmarks/README.md", "examples/README.md"]
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_examples_differences_are_in_their_results():
    page = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    cited = re.findall(r"\[([+-].*?\))\]\((results/\w+\.md)\)", page)
    assert len(cited) == 8
    for difference, path in cited:
        assert difference in (ROOT / "examples" / path).read_text(encoding="utf-8")


def test_every_example_is_named():
    pages = README + (ROOT / "examples/README.md").read_text(encoding="utf-8")
    shared = {"digits", "report", "tuning"}
    for path in (ROOT / "examples").glob("*.py"):
        assert (
            path.stem in shared
            or f"({path.name})" in pages
            or (f"(examples/{path.name})" in pages)
        ), path.name
