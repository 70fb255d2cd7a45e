"""The optimizers that are compared, a function and a row of a table each.

To add one, put a module into this folder: its `OPTIMIZERS` maps the optimizer's name to
a `Method`. Numbers of its own stand in that row, like the threshold of clipping.
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
