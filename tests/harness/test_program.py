"""Compiled programs: their memory, and the noise they train with."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import experiments
from benchmarks.experiments import classify
from benchmarks.runs import grid, placement, program
from benchmarks.training.noise import Noise


def test_lanes_are_halved_until_they_fit(monkeypatch):
    tried = []
    monkeypatch.setattr(program, "bytes_needed", lambda at_once: 10 * (at_once or 18))

    def compile_epoch(at_once):
        tried.append(at_once)
        return at_once

    assert program.compile_to_fit(compile_epoch, 18, limit=180) is None
    assert program.compile_to_fit(compile_epoch, 18, limit=30) == 3
    assert program.compile_to_fit(compile_epoch, 18, limit=1) == 1
    assert tried == [None, None, 9, 5, 3, None, 9, 5, 3, 2, 1]


def test_the_trials_of_all_optimizers_are_halved(monkeypatch):
    together = replace(
        experiments.tiny(classify.DEMO), groups=(("", ("sgd", "trsgd", "adam")),)
    )
    found = []
    monkeypatch.setattr(program, "compile_to_fit", lambda *args: found.append(args[1]))
    whole = together.problem.load(None)
    (which,) = grid.programs(together)
    program.build(together, whole, which, placement.on_one_device(together))
    assert found == [3 * len(together.learning_rates)]


def test_memory_needed_grows_with_the_lanes():
    def compiled(n):
        x = jax.ShapeDtypeStruct((n, 1000), jnp.float32)
        return jax.jit(lambda x: jnp.sort(x, axis=0)[::-1]).lower(x).compile()

    assert (
        program.bytes_needed(compiled(20))
        >= program.bytes_needed(compiled(10)) + 2 * 40_000
    )
    assert program.device_memory(1) > 1e9


@pytest.mark.slow
def test_a_program_trains_with_its_noise():
    """The same program without the noise ends elsewhere."""
    few = replace(
        experiments.tiny(classify.NOISE_DIGITS),
        groups=(("", ("sgd",)),),
        problem=replace(classify.DIGITS, train=64),
    )
    whole = few.problem.load(None)

    def loss(noise):
        (which,) = grid.programs(replace(few, noises=(noise,), batch_sizes=(32,)))
        built = program.build(few, whole, which, placement.on_one_device(few))
        (lanes,) = built.advance(built.start(), 0, 0)
        return lanes["sgd"].measures["loss"]

    assert not np.allclose(loss(Noise("gaussian", 0.3)), loss(Noise()))
