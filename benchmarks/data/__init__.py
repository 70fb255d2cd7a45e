"""Data sets, checked on load and split into train, validation and test.

`image_set.load`, `pairs.load` and `text.load` read what is on disk and download
nothing; an error says what to get and where to put it.

A data set is a module of this folder, found by its name: `fashion_mnist.py` is
`fashion-mnist`. Its `SPEC` says what the data set holds. Images also need a function
`read(data_dir)` that returns a `spec.RawSet`, which `image_set.load` checks and splits.
"""

import importlib
import pkgutil
from typing import Any


def find(name: str, kind: type) -> Any:
    """Return the module of a data set, one of those whose `SPEC` is of a kind.

    Raises:
      ValueError: there is no such data set; the message lists those that there are.
    """
    modules = (
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    )
    sets = {
        module.__name__.rpartition(".")[2].replace("_", "-"): module
        for module in modules
        if isinstance(getattr(module, "SPEC", None), kind)
    }
    if name not in sets:
        raise ValueError(f"No data set {name!r}; there is: {', '.join(sets)}")
    return sets[name]
