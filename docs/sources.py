"""Where the pages of the site come from.

The site has the pages of docs/ at its root and, of the rest of the repository, the
files that these link to, at the places they have there. A link out of docs/ has one
step upwards less on the site than in the repository. A tutorial is a notebook as text
in the repository, tutorials/NAME.py, and a page on the site, tutorials/NAME.md.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted(path.stem for path in DOCS.glob("tutorials/*.py"))


def source(uri: str) -> Path:
    """Return the file behind an address of the site."""
    page = DOCS / uri
    if uri in map("tutorials/{}.md".format, TUTORIALS):
        return page.with_suffix(".py")
    return page if page.exists() else ROOT / uri


def links(uri: str) -> list[str]:
    """List what a page of the site links to or shows, but for the web's addresses."""
    text = source(uri).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if "://" not in target]
    return [on_site(uri, target) for target in local]


def on_site(uri: str, target: str) -> str:
    """Return the address on the site of what a page links to."""
    path = normpath(PurePosixPath(uri).parent / target)
    return path.removeprefix("../").removeprefix("docs/")


def figures(uri: str) -> list[str]:
    """List the figures beside a page of results: of table.md all, else its own."""
    page = PurePosixPath(uri)
    if "results" not in page.parts:
        return []
    name = "*.png" if page.name == "table.md" else f"{page.stem}.png"
    return sorted(figure.name for figure in source(uri).parent.glob(name))
