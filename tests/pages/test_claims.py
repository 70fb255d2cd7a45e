"""Every measured number of the documents is that of a committed file.

The oracle is the rows: each number is computed from them anew, and compared as printed.
"""

import importlib

import pytest
from claims.committed import ROOT, demo_minutes, run, text
from claims.pages import PAGES, Claim, read, squeezed, unsourced

from benchmarks.experiments import EXPERIMENTS

MEASURED = [
    experiment
    for name, experiment in EXPERIMENTS.items()
    if (ROOT / "benchmarks/results" / name / "metrics.csv").is_file()
]
MODULES = {
    "README.md": ("readme",),
    "benchmarks/README.md": (
        "grids",
        "experiments",
        "shown",
        "tasks",
        "costs",
        "gpu",
        "thirty_epochs",
        "fifteen_epochs",
        "continual",
        "finetune",
        "plasticity",
        "outer",
    ),
    "docs/choosing.md": ("choosing",),
    "docs/compatibility.md": ("compatibility",),
    "docs/evidence.md": ("evidence",),
    "docs/faq.md": ("faq",),
    "docs/gallery.md": ("gallery",),
    "docs/glossary.md": ("glossary",),
    "docs/method.md": ("method",),
    "docs/paper.md": ("paper",),
    "docs/which_anchor.md": ("which",),
    "docs/recipes/finetune_llm.md": ("finetune_llm",),
    "docs/recipes/flower.md": ("flower",),
    "docs/recipes/mixed_precision.md": ("mixed_precision",),
}


def of(page, name):
    """All that the modules of a page have under a name."""
    modules = [importlib.import_module(f"claims.{x}") for x in MODULES.get(page, ())]
    return [x for module in modules for x in getattr(module, name, ())]


def claims(page):
    return of(page, "CLAIMS")


def exempt(page):
    return of(page, "EXEMPT")


def copied(page):
    """Rows of the generated tables that the page repeats."""
    lines = [line for path in of(page, "COPIED") for line in text(path).split("\n")]
    return [line for line in lines if line.startswith("|")]


@pytest.mark.parametrize(
    ("page", "claim"),
    [(page, claim) for page in MODULES for claim in claims(page)],
    ids=lambda x: x if isinstance(x, str) else x.words[:40],
)
def test_the_files_say_what_the_page_says(page, claim):
    filled = claim.filled()
    assert filled in read(page), f"the files say: {filled}"


@pytest.mark.parametrize("page", PAGES)
def test_no_number_is_without_a_source(page):
    """A line in a module of `claims`, a row of a table, or a kind that needs none."""
    sources = [*map(Claim.filled, claims(page)), *exempt(page), *copied(page)]
    numbers = unsourced(read(page), sources)
    assert not numbers, "\n".join(numbers)


@pytest.mark.parametrize("page", MODULES)
def test_what_needs_no_source_is_on_the_page(page):
    for words in exempt(page):
        assert squeezed(words) in read(page), words


def test_a_number_that_nothing_accounts_for_is_found():
    text = "At batch 8 we gain 1.5 points (arXiv 1711.05101), `S = 7` loses -0.25."
    (first, second) = unsourced(text, [])
    assert "1.5" in first
    assert "-0.25" in second
    claim = Claim("gain\n{:.1f} points", lambda: (1.46,))
    assert claim.filled() == "gain 1.5 points"
    (second,) = unsourced(text, [claim.filled()])
    assert "-0.25" in second


@pytest.mark.parametrize(
    "changed", ["gain 1.4 points", "gain 15 points", "gain 1.50 points"]
)
def test_a_digit_that_changes_on_a_page_is_found(changed):
    claim = Claim("gain {:.1f} points", lambda: (1.46,))
    assert claim.filled() not in changed
    assert unsourced(changed, [claim.filled()])


@pytest.mark.parametrize("experiment", MEASURED, ids=lambda x: x.name)
def test_the_cost_of_an_experiment_is_that_of_its_run(experiment):
    """An upper bound: the committed runs had other work beside them."""
    cores = run(experiment.name).meta["device"]["cores"]
    times = f"up to {run(experiment.name).minutes:.0f}"
    if experiment.name == "demo":
        times = "{:.1f} to {:.1f}".format(*demo_minutes())
    assert experiment.cost == f"{times} minutes on {cores} CPU cores"


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "Makefile", "README.md"])
def test_the_demo_takes_what_is_said_of_it(path):
    least, most = demo_minutes()
    assert f"{least:.1f} to {most:.1f} minutes on 2 CPU cores" in text(path)
