"""Runs that stop in time and go on, and the plan for one GPU."""

import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from benchmarks import assemble, checkpoint, experiments, program
from benchmarks.checkpoint import Position
from benchmarks.deadline import Deadline
from benchmarks.experiments import images
from benchmarks.run import prepare, run

# Two programs of two epochs of 16 steps, each in parts of 4.
SMALL = replace(
    experiments.tiny(images.SENSITIVITY_DIGITS),
    groups=(("", ("sgd", "trsgd")),),
    contrasts=(),
    problem=replace(images.DIGITS, train=128),
    batch_sizes=(8,),
    part=5,
    evaluate_every=1,
    save_every=1e9,
)


class Stop(Deadline):
    """Comes when it was asked so often, not after a time."""

    left = 0

    def allows(self, *kinds):
        type(self).left -= 1
        return self.left >= 0


def test_a_deadline_leaves_time_for_what_comes():
    deadline = Deadline(time.monotonic() + 1000, {"part": 700, "save": 200})
    assert deadline.allows("part")
    assert deadline.allows("part", "never timed")
    assert not deadline.allows("part", "save")
    with deadline.timing("part"):
        pass
    assert deadline.allows("part", "save")
    assert not Deadline(time.monotonic()).allows()
    assert Deadline().allows("part")


def test_parts_of_an_epoch_are_of_one_length():
    assert assemble.parts(SMALL, 128, 8) == range(0, 16, 4)
    assert assemble.parts(replace(SMALL, part=None), 128, 8) == range(0, 16, 16)
    assert assemble.parts(replace(SMALL, part=99), 135, 8) == range(0, 16, 16)
    assert assemble.parts(replace(SMALL, part=5), 17, 1) == range(17)


def test_an_epoch_in_parts_is_the_epoch():
    """The same steps in the same order; the means of the measures too."""

    def trained(part):
        e = replace(SMALL, part=part)
        whole = e.problem.load(None)
        which, score = assemble.programs(e)[1], program.make_score(e, whole)
        built = program.build(e, whole, which, None, Position(0, 0), score)
        lanes = built.lanes
        for first in assemble.parts(e, 128, 8):
            lanes = built.advance(lanes, 1, first)
        return lanes["trsgd"]

    whole, in_parts = trained(None), trained(4)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(in_parts), strict=True):
        # Another program may round otherwise.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not jnp.isnan(whole.measures["loss"]).any()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(prepare(SMALL, "a test", folder, resume=False))
    return (folder / "metrics.csv").read_bytes()


@pytest.mark.parametrize("asks", [2, 6])
def test_a_run_stopped_in_time_goes_on_to_the_same_numbers(undisturbed, tmp_path, asks):
    """One ask a program, one a part: it stops within epochs and at their ends."""
    calls, places, finished = 0, [], False
    while not finished:
        Stop.left = asks
        prepared = prepare(SMALL, "a test", tmp_path, resume=calls > 0)
        finished = run(prepared, Stop())
        calls += 1
        if not finished:
            places.append(checkpoint.reached(tmp_path))
    assert (tmp_path / "metrics.csv").read_bytes() == undisturbed
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 2 * 2 * 2 * 2
    assert not (tmp_path / "checkpoints").exists()
