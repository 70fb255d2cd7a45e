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


def test_import_takes_no_more_than_jax_and_optax():
    out = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["prox_optax"]
