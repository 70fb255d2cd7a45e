"""Devices to compile for. None of them needs to be there."""

import logging
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.experimental import topologies

PLUGINS = {"cuda": "jax-cuda13-pjrt", "tpu": "libtpu"}


class Target(NamedTuple):
    """Devices to compile for.

    Attributes:
      platform: cpu, cuda or tpu, as jax calls it.
      chip: the model, or cpu.
      devices: the number of chips.
    """

    platform: str
    chip: str
    devices: int = 1


TARGETS = (
    Target("cpu", "cpu"),
    Target("cuda", "H100"),
    Target("cuda", "H200"),
    Target("tpu", "v5e"),
    Target("tpu", "v6e"),
)
SHARDED = (Target("cpu", "cpu", 8), Target("tpu", "v5e", 4))


class UnavailableError(RuntimeError):
    """The reason why a target cannot be compiled for here."""


NO_TPU = {  # libtpu asks the machine otherwise, and complains
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def use_cpu_alone() -> None:
    """Keep jax from looking for the devices of plugins, which only compile here.

    Call it before the first array is made.
    """
    for variable, value in NO_TPU.items():
        os.environ.setdefault(variable, value)
    logging.getLogger("jax_plugins").setLevel(logging.ERROR)  # what only running needs
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(t.devices for t in SHARDED))


def devices(target: Target) -> list[jax.Device]:
    """Return a target's devices, to compile for.

    Raises:
      UnavailableError: the plugin of its platform is missing, or devices are.
    """
    describe: dict[str, Callable[[Target], list[jax.Device]]] = {
        "cpu": lambda target: jax.devices("cpu"),
        "cuda": _cuda,
        "tpu": _tpu,
    }
    try:
        found = describe[target.platform](target)
    except (NotImplementedError, RuntimeError) as error:
        package = PLUGINS.get(target.platform, "jax")
        reason = f"{package} is missing or does not load: {error}"
        raise UnavailableError(reason) from error
    if len(found) < target.devices:
        raise UnavailableError(f"{len(found)} of {target.devices} devices")
    return found[: target.devices]


def _tpu(target: Target) -> list[jax.Device]:
    side = math.isqrt(target.devices)
    return topologies.get_topology_desc(
        platform="tpu",
        topology_name=f"{target.chip}:{side}x{side}",
        chips_per_host_bounds=[side, side, 1],
    ).devices


def _cuda(target: Target) -> list[jax.Device]:
    return topologies.get_topology_desc(
        platform="cuda",
        topology="1x1x1",  # slices, hosts, devices a host
        target_config=_hopper(target.chip),
    ).devices


MEMORY = {"H100": (80, 3350), "H200": (141, 4800)}  # of the SXM boards: GB, GB/s


def _hopper(chip: str) -> str:
    """Return XLA's description of a GPU of compute capability 9.0.

    Sources: the table of compute capabilities in the CUDA programming guide, and the
    data sheets of the H100 and the H200 SXM.
    """
    gigabytes, bandwidth = MEMORY[chip]
    return f"""
      platform_name: "CUDA"
      gpu_device_info {{
        name: "NVIDIA {chip}"
        device_vendor: "NVIDIA Corporation"
        cuda_compute_capability {{ major: 9 }}
        core_count: 132
        fpus_per_core: 128
        clock_rate_ghz: 1.98
        device_memory_size: {gigabytes * 10**9}
        memory_bandwidth: {bandwidth * 10**9}
        l2_cache_size: {50 * 2**20}
        shared_memory_per_core: {228 * 2**10}
        shared_memory_per_block: {48 * 2**10}
        shared_memory_per_block_optin: {227 * 2**10}
        registers_per_core_limit: {2**16}
        registers_per_block_limit: {2**16}
        threads_per_warp: 32
        threads_per_core_limit: 2048
        threads_per_block_limit: 1024
        thread_dim_limit_x: 1024
        thread_dim_limit_y: 1024
        thread_dim_limit_z: 64
        block_dim_limit_x: {2**31 - 1}
        block_dim_limit_y: {2**16 - 1}
        block_dim_limit_z: {2**16 - 1}
        device_address_bits: 64
      }}
    """
