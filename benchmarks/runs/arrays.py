"""Pytrees of arrays on disk, written by Orbax; its errors become errors of files."""

import gc
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from benchmarks.records.files import DamagedError

SYSTEM = re.compile(r"os_error_code='(\d+)'")  # as TensorStore's errors say it


def save(path: Path, tree: Any) -> None:
    """Write a pytree of arrays to a new folder.

    Raises:
      OSError: they could not be written.
    """
    try:
        with silence(), alone() as checkpointer:
            checkpointer.save(path.absolute(), tree)
    except ValueError as error:
        if code := SYSTEM.search(str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise


def load(path: Path, like: Any) -> Any:
    """Read a pytree of arrays; `like` gives structure, shapes and dtypes.

    Raises:
      DamagedError: the folder does not hold such arrays.
    """
    here = SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like
    )
    try:
        with silence(), alone() as checkpointer:
            return checkpointer.restore(path.absolute(), target)
    except Exception as error:  # a damaged folder raises almost anything
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise DamagedError(
            f"{path} does not hold the arrays of the run: {first}"
        ) from error


def alone() -> ocp.StandardCheckpointer:
    """Return a checkpointer that does not wait for other processes."""
    own = jax.process_index()
    return ocp.StandardCheckpointer(
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=str(own)
        )
    )


@contextmanager
def silence() -> Iterator[None]:
    """Keep Orbax's threads from printing tracebacks; their error is raised anyway.

    After an error the threads go on for a while, so their logs stay silent.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [each.level for each in loggers]
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        yield
    except BaseException:
        gc.collect()  # what is left of the threads' tasks
        raise
    finally:
        sys.unraisablehook = hook
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)
