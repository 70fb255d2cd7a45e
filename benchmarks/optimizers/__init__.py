"""The optimizers that are compared, a function and a row of a table each.

To add one, put a module into this folder: its `OPTIMIZERS` maps the optimizer's name to
a `Method`. Numbers of its own stand in that row, like the threshold of clipping.
"""

import importlib
import pkgutil

from benchmarks.optimizers.method import Method

OPTIMIZERS: dict[str, Method] = {}
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    _rows = getattr(importlib.import_module(_module.name), "OPTIMIZERS", {})
    if _twice := OPTIMIZERS.keys() & _rows:
        raise ValueError(f"{_module.name}: there is an optimizer {min(_twice)!r}.")
    OPTIMIZERS |= _rows
