"""The README is true: its code runs, its numbers come from the committed results."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import prox_optax

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.splitlines()) < 120


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_code_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def methods():
    """Return the code of the table of methods, two lines each."""
    rows = [line for line in README.splitlines() if "<br>" in line]
    return [re.findall(r"`([^`]+)`<br>`([^`]+)`", row)[0] for row in rows]


@pytest.mark.parametrize("lines", methods(), ids=[str(i) for i in range(10)])
def test_the_two_lines_of_a_method_run(lines):
    params = {"body": jnp.ones(3), "head": jnp.ones(2)}
    scope = {
        **vars(prox_optax),
        **{"optax": optax, "jax": jax, "params": params, "key": jax.random.key(0)},
        **{"initial_params": params, "server_params": params, "data": jnp.ones(2)},
        "loss": lambda params, x: x * optax.tree.sum(params),
        **dict.fromkeys(
            ("alpha", "beta", "mu", "lam", "lr", "c", "clip", "sigma"), 0.1
        ),
        **{"period": 5, "labels": {"body": "body", "head": "head"}},
    }
    if "c + beta" in lines[1]:  # the centre and the mean are whole models there
        scope.update(params=jnp.ones(3), c=jnp.ones(3), mean_before_step=jnp.ones(3))
    exec(lines[0], scope)
    if "opt_state" in lines[1]:
        scope["opt_state"] = scope["tx"].init(scope["params"])
    exec(lines[1], scope)
    scope["tx"].init(scope["params"])


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
    cited = re.findall(r"\[([+-].*?\))\]\((results/[\w-]+\.md)\)", page)
    assert len(cited) == 14
    for difference, path in cited:
        assert difference in (ROOT / "examples" / path).read_text(encoding="utf-8")


def test_every_example_is_named():
    pages = README + (ROOT / "examples/README.md").read_text(encoding="utf-8")
    shared = {"anchor_report", "contrasts", "digits", "fashion_mnist"}
    shared |= {"records", "report", "tuning"}
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
