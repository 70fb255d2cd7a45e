"""`python tests/release.py v0.1.0`: refuse a release that is not ready.

It prints a sentence for each thing that is missing, and exits 1 where one is.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def missing(tag: str, root: Path = ROOT) -> list[str]:
    """Say what the files in ``root`` lack for a release at ``tag``."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    version = project["version"]
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    dated = rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d$"
    citation = (root / "CITATION.cff").read_text("utf-8")
    first = re.search("^## .*", changes, re.M)
    wrong = {
        "pyproject.toml has no address in [project.urls]: write the repository's as "
        'Source = "https://...".': not project["urls"].get("Source"),
        f"the tag is {tag} and the version in pyproject.toml {version}: the tag must "
        f"be v{version}.": tag != f"v{version}",
        f"CHANGELOG.md does not begin with '## {version}, YYYY-MM-DD', the day of the "
        "release.": not (first and re.match(dated, first[0])),
        f"CITATION.cff does not have the version {version}.": not re.search(
            rf"^version: {re.escape(version)}$", citation, re.M
        ),
    }
    return [sentence for sentence, is_wrong in wrong.items() if is_wrong]


if __name__ == "__main__":
    found = missing(sys.argv[1])
    print(*found or [f"{sys.argv[1]} is ready."], sep="\n")
    sys.exit(bool(found))
