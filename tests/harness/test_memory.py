"""The memory that `list` names: the bytes of the arrays that a run makes."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks import experiments
from benchmarks.experiments import classify, continual, language, plasticity
from benchmarks.runs import grid, memory, overview, program
from benchmarks.training import loop, vectors


def on_digits(experiment, **changes):
    problem: Any = experiment.problem
    few = {"data": "digits", "train": 100, "validation": 100, "test": 100}
    return replace(problem, **few, **changes)


PROBLEMS = {
    "images": on_digits(classify.PAPER_CIFAR10, channels=(4,)),
    "pixels in other orders": continual.CONTINUAL_DIGITS.problem,
    "classes": on_digits(continual.CONTINUAL_FASHION),
    "random labels": on_digits(plasticity.PLASTICITY, pooled=2),
    "text": language.LANGUAGE.problem.tiny(),
    "texts": continual.CONTINUAL_TEXT.problem.tiny(),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "one.txt").write_text("a text " * 100)
    return tmp_path


@pytest.mark.parametrize("name", PROBLEMS)
def test_shapes_without_data_are_those_of_a_run(name, folder):
    problem = PROBLEMS[name]
    if name == "texts":
        (folder / "two.txt").write_text("another " * 100)
    task = problem.task(problem.load(folder), batch_size=4)
    like = jax.eval_shape(task.init, jax.random.key(0))
    assert problem.abstract() == like


def test_bytes_of_the_largest_program():
    """Against the shapes of all replicas, as a run makes them."""
    tiny = experiments.tiny(classify.SENSITIVITY_DIGITS)
    tiny = replace(tiny, groups=(("", ("sgd", "tradam")),), batch_sizes=(8,))
    task = tiny.problem.task(tiny.problem.load(None), batch_size=8)

    def held(task, experiment):
        for which in grid.programs(experiment):
            numbers = grid.number_arrays(experiment, which)
            methods = grid.methods(experiment, which, steps=10)
            init = partial(loop.init_lanes, task, methods)
            lanes = jax.eval_shape(init, numbers, jnp.asarray(which.seeds))
            yield sum(program.nbytes([x, x.params]) for x in lanes.values())

    few, most = held(task, tiny)
    assert few < memory.bytes_held(tiny) == most
    together, (as_vectors, _) = replace(tiny, together=True), vectors.as_vectors(task)
    assert [memory.bytes_held(together)] == [*held(as_vectors, together)]


def test_only_the_most_seeds_of_a_program_count():
    tiny = experiments.tiny(classify.SENSITIVITY_DIGITS)
    one = replace(tiny, groups=(("", ("sgd",)),), batch_sizes=(8,), seeds=4)
    staged = replace(one, tuning_seeds=1)
    assert 3 * memory.bytes_held(one) == 4 * memory.bytes_held(staged)


def test_a_large_experiment_has_a_gradient_at_a_time():
    """A program of two replicas of plain SGD, whatever else they hold."""
    tiny = experiments.tiny(classify.SENSITIVITY_DIGITS)
    one = replace(tiny, groups=(("", ("sgd",)),), batch_sizes=(8,))
    small = replace(one, seeds=2, tuning_seeds=1)
    params, _ = small.problem.abstract()
    saved = memory.bytes_held(small) - memory.bytes_held(replace(small, large=True))
    assert saved == program.nbytes(params)


def test_memory_in_words():
    assert overview.size(15_600_000) == "16 MB"
    assert overview.size(2_572_800_000) == "2.6 GB"
    demo = overview.describe(classify.DEMO)
    assert (
        f"    memory: up to {overview.size(memory.bytes_held(classify.DEMO))}" in demo
    )
