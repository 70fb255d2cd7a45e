"""The optimizers that are compared: a function and a row each.

A module of this folder that has `OPTIMIZERS` adds its rows to the table.
"""

import importlib
import pkgutil

from benchmarks.optimizers.method import Method

OPTIMIZERS: dict[str, Method] = {
    name: method
    for module in pkgutil.iter_modules(__path__, f"{__name__}.")
    for name, method in getattr(
        importlib.import_module(module.name), "OPTIMIZERS", {}
    ).items()
}
