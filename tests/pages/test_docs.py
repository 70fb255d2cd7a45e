"""The pages of docs/ are true and lead somewhere; `make docs` makes a site of them."""

import inspect
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import prox_optax
from docs import anchor_picture
from docs.rst import to_markdown
from docs.sources import DOCS, ROOT, TUTORIALS, figures, links, source

PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
PAGES += [f"tutorials/{name}.md" for name in TUTORIALS]
NAV = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
CODE = {
    uri: re.findall(r"```python\n(.*?)```", source(uri).read_text("utf-8"), re.S)
    for uri in PAGES
}


@pytest.mark.parametrize("uri", [uri for uri in PAGES if CODE[uri]])
def test_code_runs(uri):
    """From top to bottom, as a reader would."""
    scope: dict[str, object] = {}
    for code in CODE[uri]:
        exec(compile(code, uri, "exec"), scope)


def test_every_page_is_in_the_navigation():
    assert set(PAGES) <= set(NAV)
    assert all(source(uri).is_file() for uri in NAV)


@pytest.mark.parametrize("uri", NAV)
def test_links_lead_somewhere(uri):
    for target in links(uri):
        assert source(target).is_file(), target


@pytest.mark.parametrize("uri", PAGES)
def test_links_of_a_page_hold_in_a_checkout_too(uri):
    text = source(uri).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (DOCS / uri).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("uri", PAGES)
def test_what_a_page_includes_is_there(uri):
    text = source(uri).read_text(encoding="utf-8")
    for path, limits in re.findall(r'{% include\S* "([^"]+)"(.*?) %}', text):
        included = (DOCS / uri).parent.joinpath(path).read_text(encoding="utf-8")
        for _, limit in re.findall(r"""(["'])(.*?)\1""", limits):
            assert limit.replace("\\n", "\n") in included, limit


def test_api_pages_have_every_public_name_once():
    shown = [
        name
        for path in (DOCS / "api").glob("*.md")
        for name in re.findall(
            r"^::: prox_optax\.(\w+)$", path.read_text("utf-8"), re.M
        )
    ]
    assert sorted(shown) == sorted(prox_optax.__all__)


def test_the_table_of_names_has_every_public_name():
    rows = re.findall(r"^\| \[`.*", source("api/index.md").read_text("utf-8"), re.M)
    shown = re.findall(r"\]\[prox_optax\.(\w+)\]", "\n".join(rows))
    assert sorted(shown) == sorted(prox_optax.__all__)


@pytest.mark.parametrize(("column", "data"), [(1, "digits"), (2, "fashion-mnist")])
def test_the_table_on_choosing_is_the_results(column, data):
    page = source("choosing.md").read_text(encoding="utf-8")
    text = source(f"examples/results/choose_strength-{data}.md").read_text("utf-8")
    sections = re.split(rf"^{data}, ", text, flags=re.M)
    at_10, periods = (
        next(part for part in sections if part.startswith(title))
        for title in ("10 x safe", "the rule at 10 x safe")
    )
    table = re.findall(r"^\|(.+)\|$", page, re.M)
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in table]
    ((rate, accuracy),) = re.findall(r"safe rate (\S+): (\S+)\)", head[column])
    assert f"| safe rate, no pull | {accuracy} +- " in at_10
    assert f"The safe rate, {rate}, is the best of 13" in text
    assert len(rows) == 7
    for row in rows:
        found = row[column].replace("equal", "no significant difference")
        of_row = rf"^\| {row[0]} \| .* \(n=10\) \| {re.escape(found)} \|$"
        part = periods if row[0].startswith("S = ") else at_10
        assert re.search(of_row, part, re.M), row


def test_the_table_of_faults_counts_the_tests():
    """As pytest collects them."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "faults", "--co", "-q"]
    process = subprocess.run(
        [*command, *sorted(map(str, ROOT.glob("tests/harness/test_faults_*.py")))],
        cwd=ROOT,
        env={k: x for k, x in os.environ.items() if k != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = Counter(re.findall(r"::(\w+)", process.stdout))
    text = source("reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d+) \| (`test_.*`) \|$", text, re.M)
    assert sum(int(ways) for ways, _ in rows) >= 300
    for ways, names in rows:
        assert sum(found[name] for name in re.findall(r"\w+", names)) == int(ways), (
            names
        )


def test_references_are_public_names():
    for uri in PAGES:
        text = source(uri).read_text(encoding="utf-8")
        for name in re.findall(r"\]\[prox_optax\.(\w+)\]", text):
            assert name in prox_optax.__all__, f"{uri}: {name}"


def test_the_picture_shows_what_it_says():
    """Its anchor is the parameter where a period begins, or that at the start."""
    w, a = map(np.asarray, anchor_picture.trained(5.0, anchor_picture.PERIOD))
    begins = np.arange(anchor_picture.STEPS) // anchor_picture.PERIOD
    np.testing.assert_array_equal(a, w[begins * anchor_picture.PERIOD])
    _, stays = anchor_picture.trained(1.0, None)
    np.testing.assert_array_equal(stays, 0.0)
    assert len(anchor_picture.draw().axes) == 2


def test_results_have_their_figures():
    assert figures("benchmarks/results/demo/table.md") == ["accuracy.png"]
    assert figures("examples/results/dqn_pro.md") == ["dqn_pro.png"]
    assert figures("examples/README.md") == []


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("A :math:`x\n  y` of.", "A $x y$ of."),
        ("See :func:`proximal`.", "See [`proximal`][prox_optax.proximal]."),
        ("A :class:`ProximalState`", "A [`ProximalState`][prox_optax.ProximalState]"),
        (".. math:: x = y\n\nwhere", "$$\nx = y\n$$\n\nwhere"),
        (
            "so\n\n.. math::\n\n  \\begin{a}\n    x\n  \\end{a}\n\nwhere",
            "so\n\n$$\n\\begin{a}\n  x\n\\end{a}\n$$\n\nwhere",
        ),
        ("an integer\n  >= 1", "an integer\n  \\>= 1"),
        ("Go\n\nExample:\n  >>> x", "Go\n\nExamples:\n  >>> x"),
        (
            "Go\n\nReference:\n  X, in\n  https://x.org",
            "Go\n\n**Reference:** X, in\n<https://x.org>",
        ),
    ],
)
def test_docstrings_become_markdown(docstring, markdown):
    assert to_markdown(docstring) == markdown


@pytest.mark.parametrize("text", ["see :meth:`x`", ".. note:: x", "x\n  .. math:: x"])
def test_what_has_no_markdown_is_named(text):
    with pytest.raises(ValueError, match="the site knows"):
        to_markdown(text)


@pytest.mark.parametrize("name", prox_optax.__all__)
def test_docstrings_of_the_library_are_converted(name):
    text = to_markdown(str(inspect.getdoc(vars(prox_optax)[name])))
    assert text.count("$$") % 2 == 0
    for reference in re.findall(r"\]\[prox_optax\.([\w.]+)\]", text):
        assert reference in prox_optax.__all__
