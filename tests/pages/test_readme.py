"""The README is true: its code runs, its numbers come from the committed results."""

import re
from pathlib import Path

import pytest

import prox_optax

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.splitlines()) < 120


def test_the_code_prints_what_the_page_says(capsys):
    scope: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(compile(code, "README.md", "exec"), scope)
    (printed,) = re.findall(r"```text\n(.*?)```", README, re.S)
    assert capsys.readouterr().out == printed


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
    cited = re.findall(r"\[([+-].*?\))\]\((results/[\w-]+\.md)\)", page)
    assert len(cited) == 15
    for difference, path in cited:
        assert difference in (ROOT / "examples" / path).read_text(encoding="utf-8")


def test_every_example_is_named():
    pages = README + (ROOT / "examples/README.md").read_text(encoding="utf-8")
    shared = {"anchor_report", "contrasts", "digits", "fashion_mnist"}
    shared |= {"records", "report", "smollm2", "tuning"}
    for path in (ROOT / "examples").glob("*.py"):
        assert (
            path.stem in shared
            or f"({path.name})" in pages
            or (f"(examples/{path.name})" in pages)
        ), path.name


def test_citation_and_change_log_name_this_version():
    version = prox_optax.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall("^version: (.*)$", citation, re.M) == [version]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall("^## ([0-9.]+)", changes, re.M)[0] == version
