"""The tutorials run as scripts, as `make docs` runs them as notebooks.

`tests/neighbours.py` runs the one with Flower.
"""

import re
import runpy

import matplotlib.pyplot as plt
import numpy as np
import pytest

from docs.sources import DOCS, TUTORIALS, source

TABLE = source("examples/results/finetune_forget_less.md").read_text("utf-8")


def committed(method):
    """Return what a method kept and learned, means over ten networks, by setting."""
    row = rf"^\| {method} \| \S+ \| (\S+) \+- \S+ \| (\S+) "
    return np.array(re.findall(row, TABLE, re.M), float).T


@pytest.mark.parametrize("name", TUTORIALS)
def test_it_begins_with_its_title(name):
    page = source(f"tutorials/{name}.md")
    assert page == DOCS / f"tutorials/{name}.py"
    assert page.read_text("utf-8").startswith("# %% [markdown]\n# # ")


@pytest.mark.slow
def test_forget_less_finds_what_the_committed_run_found():
    """Its own measure of ten networks is the oracle; half of it is left to one."""
    plt.switch_backend("agg")
    found = runpy.run_path(str(source("tutorials/forget_less.md")))
    plt.close("all")
    expected = found["most_kept"](*committed("a pull weighted by Fisher"))
    expected -= found["most_kept"](*committed("a lower rate alone"))
    assert found["with_pull"] - found["lower_rate"] > expected / 2 > 0.1
