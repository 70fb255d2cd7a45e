"""What a release needs: its long description, its files, and what it refuses."""

import re
import runpy
import shutil
import sys
import tomllib
from types import SimpleNamespace

import pytest
from claims.committed import ROOT
from claims.compatibility import PROJECT, pythons

ADDRESS = "https://example.org/owner/repository"
LINK = re.compile(r"\]\(([^)\s]+)\)")
README = (ROOT / "README.md").read_text("utf-8")
MISSING = runpy.run_path(str(ROOT / "tests/release.py"))["missing"]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def copied(folder, address):
    """Copy what a release reads, with an address and a day."""
    for name in ("README.md", "setup.py", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    given = f'[project.urls]\nSource = "{address}"' if address else "[project.urls]"
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    project = re.sub(r'\nSource = "[^"]*"', "", project)
    (folder / "pyproject.toml").write_text(project.replace("[project.urls]", given))
    heading = f"# Changes\n\n## {PROJECT['version']}, 2026-01-31\n"
    (folder / "CHANGELOG.md").write_text(heading)
    return folder


def described(folder, monkeypatch):
    """Return the long description that setup.py gives to setuptools."""
    given = {}
    stand_in = SimpleNamespace(setup=lambda **arguments: given.update(arguments))
    monkeypatch.setitem(sys.modules, "setuptools", stand_in)
    runpy.run_path(str(folder / "setup.py"))
    assert given["long_description_content_type"] == "text/markdown"
    return given["long_description"]


def test_links_of_the_long_description_lead_to_the_tag(tmp_path, monkeypatch):
    found = LINK.findall(described(copied(tmp_path, ADDRESS), monkeypatch))
    tag = f"v{PROJECT['version']}"
    at = {x: f"{ADDRESS}/blob/{tag}/{x}" for x in LINK.findall(README)}
    at |= {x: f"{ADDRESS}/blob/{tag}/README.md{x}" for x in at if x.startswith("#")}
    at |= {x: x for x in at if x.startswith("https://")}
    image = "benchmarks/results/demo/accuracy.png"
    at[image] = f"{ADDRESS}/raw/{tag}/{image}"
    assert found == [at[x] for x in LINK.findall(README)]


def test_without_an_address_links_become_their_texts(tmp_path, monkeypatch):
    text = described(copied(tmp_path, None), monkeypatch)
    assert LINK.findall(text) == [
        x for x in LINK.findall(README) if x.startswith("https://")
    ]
    words = re.findall(r"\[([^\]]*)\]\((?!https://)", README)
    assert words
    assert not [x for x in words if x not in text or f"[{x}]" in text]
    code = re.compile(r"^```.*?^```", re.M | re.S)
    assert code.findall(text) == code.findall(README)


def test_a_release_that_is_ready(tmp_path):
    tag = f"v{PROJECT['version']}"
    assert MISSING(tag, copied(tmp_path, ADDRESS)) == []


@pytest.mark.parametrize(
    ("name", "found", "instead", "sentence"),
    [
        ("pyproject.toml", "Source = ", "Docs = ", "no address in"),
        ("CHANGELOG.md", "2026-01-31", "not yet released", "the day of the release"),
        ("CHANGELOG.md", "## 0", "## 9, 2026-01-31\n\n## 0", "the day of the release"),
        ("pyproject.toml", 'version = "', 'version = "9.', "the tag must be v9.0"),
        ("CITATION.cff", "\nversion: ", "\nversion: 9.", "CITATION.cff does not have"),
    ],
)
def test_what_is_not_ready_is_named(tmp_path, name, found, instead, sentence):
    path = copied(tmp_path, ADDRESS) / name
    text = path.read_text("utf-8")
    assert found in text
    path.write_text(text.replace(found, instead, 1))
    named = MISSING(f"v{PROJECT['version']}", tmp_path)
    assert any(sentence in x for x in named), named


def test_no_release_without_an_address(tmp_path):
    (sentence,) = MISSING(f"v{PROJECT['version']}", copied(tmp_path, None))
    assert "no address in [project.urls]" in sentence


def test_the_pythons_are_the_same_everywhere():
    lowest = pythons()[0]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert PROJECT["requires-python"] == f">={lowest}"
    assert settings["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    listed = ", ".join(f'"{x}"' for x in pythons())
    for path in ("tests/matrix.py", ".github/workflows/release.yml"):
        assert f"[{listed}]" in (ROOT / path).read_text("utf-8"), path


def test_the_sdist_has_the_tests_that_need_no_benchmarks():
    (line,) = re.findall(
        "^exclude (.*) #", (ROOT / "MANIFEST.in").read_text("utf-8"), re.M
    )
    needs = re.compile("^(from|import) (benchmarks|examples)", re.M)
    tests = (ROOT / "tests/library").glob("*.py")
    assert sorted(line.split()) == sorted(
        path.relative_to(ROOT).as_posix()
        for path in tests
        if needs.search(path.read_text("utf-8"))
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned(path):
    """By a commit, with its version behind it, which Dependabot reads."""
    used = re.findall(r"\buses: (.*)", path.read_text("utf-8"))
    assert used
    for action in used:
        pinned = re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
        assert pinned or action.startswith("./"), action
