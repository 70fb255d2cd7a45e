"""The long description: README.md, whose links lead somewhere from everywhere.

Those to files of the repository, and to headings, become links to its address in
pyproject.toml, at the tag of the version. Without an address they become their texts.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://)([^)\s]+)\)")


def long_description() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project["urls"].get("Source")

    def absolute(link: re.Match[str]) -> str:
        mark, text, path = link.groups()
        if address is None:
            return text
        kind = "raw" if mark else "blob"
        path = f"README.md{path}" if path.startswith("#") else path
        return f"{mark}[{text}]({address}/{kind}/v{project['version']}/{path})"

    return LINK.sub(absolute, (ROOT / "README.md").read_text("utf-8"))


setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
)
