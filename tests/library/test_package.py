"""What a user installs and imports."""

import subprocess
import sys

IMPORTS = """
import sys, jax, optax
before = set(sys.modules)
import prox_optax
added = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(added - sys.stdlib_module_names))
"""

CHECKOUT = """
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
import prox_optax
print(prox_optax.__version__)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_checkout_that_is_not_installed_has_no_version():
    assert run("import jax, optax" + CHECKOUT) == ["0+unknown"]


def test_import_takes_no_more_than_jax_and_optax():
    assert run(IMPORTS) == ["prox_optax"]
