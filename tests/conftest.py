"""Eight CPU devices for the sharding tests; implicit rank promotion is an error.

The other tests run on JAX's default device, a GPU where there is one.
"""

import os
from functools import partial

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def cpu(monkeypatch):
    """Compute on the CPU devices, and make meshes of them, beside a GPU too."""
    devices = jax.devices("cpu")
    monkeypatch.setattr(jax, "make_mesh", partial(jax.make_mesh, devices=devices))
    with jax.default_device(devices[0]):
        yield
