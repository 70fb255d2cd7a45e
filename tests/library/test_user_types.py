"""What mypy finds in a user's file, where it does not read the types of optax."""

import os
import subprocess
import sys
from pathlib import Path

import prox_optax

FILE = Path(__file__).with_name("user_types.py")


def test_mypy_finds_the_mistakes_in_a_users_file_and_no_others(tmp_path):
    """`make lint` and tests/matrix.py check the same file with optax's types."""
    home = Path(prox_optax.__file__).parents[1]
    path = {} if home.name == "site-packages" else {"MYPYPATH": str(home)}
    command = (sys.executable, "-m", "mypy", "--config-file=", "--warn-unused-ignores")
    missing = ("--ignore-missing-imports", "--follow-imports=silent")
    cache = FILE.parents[2] / ".mypy_cache/user"
    found = subprocess.run(
        [*command, *missing, f"--cache-dir={cache}", FILE],
        cwd=tmp_path,
        env=os.environ | path,
        capture_output=True,
        text=True,
    )
    assert found.stdout.startswith("Success"), found.stdout + found.stderr
