"""Several processes that run one experiment together; the first one leads.

It alone reads and writes the folder of the run and decides what comes next. Before the
devices of all have to work, it tells the others what to do.
"""

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from benchmarks.records import origin

FORCED = "--xla_force_host_platform_device_count"
UNIT = 1024  # bytes; messages of as many units are sent by one compiled function


def fill_cores() -> None:
    """Make a device of each CPU core, before JAX has started any.

    What JAX's own settings say of the number of devices stays.
    """
    is_free = jax.config.values["jax_num_cpu_devices"] < 0
    if is_free and FORCED not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", origin.cores() or 1)


@contextmanager
def joined(coordinator: str | None, process: str | None) -> Iterator[None]:
    """Be one of several processes, from before JAX starts a device.

    When the block ends in the first process, in whatever way, `heard` returns None in
    the others.

    Args:
      coordinator: HOST:PORT, where the first process listens; None if it is alone.
      process: K/N, the K-th of N processes, from 0; None is what SLURM or Open MPI say.

    Raises:
      ValueError: there is no such process.
    """
    if coordinator is not None:
        join(coordinator, process)
    try:
        yield
    finally:
        tell(None)


def join(coordinator: str, process: str | None) -> None:
    """Connect this process to the others."""
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM
    if process is None:
        jax.distributed.initialize(coordinator)
        return
    found = re.fullmatch(r"(\d+)/(\d+)", process)
    if not found or int(found[1]) >= int(found[2]):
        raise ValueError(f"--process {process}: write 0/2 and 1/2 for two processes.")
    jax.distributed.initialize(coordinator, int(found[2]), int(found[1]))


def is_first() -> bool:
    """Say whether this process leads: the only one, or the first."""
    return jax.process_index() == 0


def tell(message: Any) -> None:
    """Send a message to the other processes, each of which has to call `heard`."""
    if jax.process_count() == 1 or not is_first():
        return
    text = pickle.dumps(message)
    units = -(-len(text) // UNIT)
    multihost_utils.broadcast_one_to_all(np.int32(units))
    padded = np.frombuffer(text.ljust(units * UNIT, b"\0"), np.uint8)
    multihost_utils.broadcast_one_to_all(padded)


def heard() -> Any:
    """Wait for a message from the first process, and return it."""
    units = int(multihost_utils.broadcast_one_to_all(np.int32(0)))
    empty = np.zeros(units * UNIT, np.uint8)
    sent = np.asarray(multihost_utils.broadcast_one_to_all(empty), np.uint8)
    return pickle.loads(sent.tobytes())  # of our own command on another host
