"""The experiments: everyone gets the same, and the published numbers are published."""

from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks import experiments
from benchmarks.experiments import classify, continual
from benchmarks.optimizers import OPTIMIZERS
from benchmarks.records import files, run_files
from benchmarks.runs import execute, grid, overview


def test_decays_are_those_published():
    decay = grid.decay_schedule(classify.DEMO.decays, steps=100)
    factors = [float(decay(step)) for step in (0, 49, 50, 74, 75, 99)]
    np.testing.assert_allclose(factors, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_tiny_differs_in_size_only():
    tiny = experiments.tiny(classify.DEMO)
    sizes = {"name", "learning_rates", "seeds", "epochs", "save_every"}
    changed = {
        field.name
        for field in fields(tiny)
        if getattr(tiny, field.name) != getattr(classify.DEMO, field.name)
    }
    assert changed == sizes
    assert set(tiny.learning_rates) < set(classify.DEMO.learning_rates)


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS.values())
def test_everyone_makes_as_many_trials(experiment):
    assert set(experiment.optimizers) <= set(OPTIMIZERS)
    for name in experiment.optimizers:
        numbers = grid.numbers(experiment, name)
        rows = list(zip(*numbers.values(), strict=True))
        assert len(set(rows)) == len(rows)
        labels = grid.labels(experiment, name)
        assert len(labels) == len(rows)
        for label in labels:
            assert labels.count(label) == len(experiment.learning_rates)


@pytest.mark.parametrize("experiment", experiments.EXPERIMENTS.values())
def test_everyone_has_a_base(experiment):
    bases = grid.baselines(experiment)
    labels = [
        label
        for name in experiment.optimizers
        for label in grid.labels(experiment, name)
    ]
    assert list(bases) == list(dict.fromkeys(labels))
    assert [name for name, base in bases.items() if base is None] == labels[:1]
    assert {base for base in bases.values() if base} <= set(labels)
    pairs = {name for pair in experiment.contrasts for name in pair}
    assert pairs <= set(labels)


def test_adam_is_compared_with_sgd_and_its_family_with_adam():
    bases = grid.baselines(classify.SENSITIVITY_DIGITS)
    assert bases["trsgd"] == bases["adam"] == bases["muon"] == "sgd"
    assert bases["tradam"] == bases["adamw"] == bases["adam, b2 rescaled"] == "adam"
    bases = grid.baselines(classify.ABLATION_DIGITS)
    assert bases["coupled, S = 2, strength 0.1"] == "coupled, S = 2, strength 0"


def test_programs_cover_every_optimizer_and_batch_size_once():
    experiment = classify.SENSITIVITY_DIGITS
    pairs = [
        (program.batch_size, name)
        for program in grid.programs(experiment)
        for name in program.optimizers
    ]
    assert len(set(pairs)) == len(pairs) == 6 * 22
    (paper,) = grid.programs(classify.PAPER_CIFAR10)
    assert paper.optimizers == classify.PAPER_CIFAR10.optimizers
    noises = [each.noise for each in grid.programs(classify.NOISE_DIGITS)]
    assert {noises.count(noise) for noise in classify.NOISE_DIGITS.noises} == {16}


def test_published_numbers():
    """The learning rates, batch and epochs of the reference implementation."""
    experiment = classify.PAPER_CIFAR10
    rates = {
        name: grid.numbers(experiment, name)["learning_rate"]
        for name in experiment.optimizers
    }
    assert rates == {"sgd": (0.1,), "trsgd": (0.1,), "adam": (1e-3,), "tradam": (1e-3,)}
    assert (experiment.batch_sizes, experiment.epochs, experiment.seeds) == (
        (8,),
        200,
        5,
    )
    assert grid.total_steps(experiment, 45_000, 8) == 1_125_000


def test_an_experiment_may_try_other_values_of_a_number():
    """Of one optimizer alone."""
    few = replace(continual.CONTINUAL_DIGITS, learning_rates=(0.1, 0.2), values=())
    own = few.optimizers[2], "strength"
    other = replace(few, values=((*own, (7.0, 8.0)),))
    assert grid.numbers(other, own[0])["strength"] == (7.0, 8.0)
    usual = grid.numbers(few, own[0])["strength"]
    assert usual != (7.0, 8.0)
    assert grid.numbers(other, few.optimizers[3]) == grid.numbers(
        few, few.optimizers[3]
    )


def test_what_experiments_got_later_is_described_where_it_is_used():
    """The descriptions of older runs stay, so that they go on."""
    plain = classify.SENSITIVITY_DIGITS
    used = replace(
        plain, cosine=True, decays=(), at_once=2, values=(("sam", "rho", (0.1,)),)
    )
    data_set = plain.problem.load(None)
    old, new = (execute.describe(x, data_set)["experiment"] for x in (plain, used))
    assert {*new} - {*old} == {"cosine", "at_once", "values"}
    digits = continual.CONTINUAL_DIGITS
    other = replace(digits, problem=replace(digits.problem, kind="resnet18", hidden=4))
    old, new = (execute.describe(x, data_set)["experiment"] for x in (digits, other))
    assert {*new} - {*old} == {"kind"}
    committed = overview.COMMITTED / digits.name / run_files.META
    assert old.keys() == files.read_json(committed)["experiment"].keys()


def test_a_rate_has_one_schedule():
    with pytest.raises(ValueError, match="set cosine=False or decays="):
        replace(classify.SENSITIVITY_DIGITS, cosine=True)
