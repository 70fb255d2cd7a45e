"""docs/compatibility.md: its versions are those of pyproject.toml."""

import re
import tomllib

from claims.committed import text
from claims.pages import Claim

PROJECT = tomllib.loads(text("pyproject.toml"))["project"]


def pythons():
    """Return the Pythons that the classifiers name, such as "3.12"."""
    version = r"Programming Language :: Python :: (3\.\d+)"
    found = (re.fullmatch(version, name) for name in PROJECT["classifiers"])
    return [match[1] for match in found if match]


def bounds(*names):
    """Return the one lower and the one upper bound of these packages."""
    asked = dict(name.split(">=") for name in PROJECT["dependencies"])
    ((low, high),) = {tuple(asked[name].split(",<")) for name in names}
    return low, high


CLAIMS = [
    Claim("| Python | {} |", lambda: (", ".join(pythons()),)),
    Claim(
        "| jax, jaxlib | {} or newer, below {} |",
        lambda: bounds("jax", "jaxlib"),
    ),
    Claim("| optax | {} or newer, below {} |", lambda: bounds("optax")),
]
EXEMPT = [
    *("45 months", "6 months or more", "and 12 months"),
    *("0.MINOR.PATCH", "SPEC 0", "version 1.0"),
]
COPIED = ()
