"""Choices and scores of tasks in series, on made-up rows with known values."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import staged_run

from benchmarks import experiments
from benchmarks.experiments.continual import CONTINUAL_DIGITS
from benchmarks.report import continual, fronts, statistics
from benchmarks.report.fronts import Configuration
from benchmarks.runs import epochs, execute, grid, metric_rows

# (old loss, new loss, old accuracy, new accuracy) of a trial after epochs 1, 2 and 3,
# the first of them before the new task.
PLAIN = {
    0: [(0.1, 2.0, 0.9, 0.1), (0.3, 1.0, 0.8, 0.5), (0.5, 0.0, 0.7, 0.8)],
    1: [(0.1, 2.0, 0.9, 0.1), (0.6, 0.5, 0.5, 0.9), (0.9, 0.4, 0.2, 1.0)],
}
PULLED = {
    0: [(0.1, 2.0, 0.9, 0.1), (0.2, 1.1, 0.5, 0.2), (0.25, 0.6, 0.8, 0.6)],
    1: [(0.1, 2.0, 0.9, 0.1), (0.4, 0.5, 0.7, 0.7), (0.2, np.nan, 0.1, 0.1)],
}
META = staged_run.meta(
    {"name": "accuracy", "higher": True, "labels": {"accuracy": "", "accuracy_1": ""}},
    "pulled",
    tasks=2,
    epochs_each=1,
    epochs=3,
    evaluate_every=1,
)


def rows_of(name, trials):
    """Give seeds 5 and 6 validation scores, and 7 to 9 test scores with a shift."""
    keys = itertools.product(trials, range(1, 4), range(5, 10))
    for trial, epoch, seed in keys:
        values = trials[trial][epoch - 1]
        split, shift = ("validation", 0.0) if seed < 7 else ("test", 0.01 * (seed - 8))
        old_loss, new_loss, old, new = values
        yield {
            "batch_size": 32,
            "noise": "no noise",
            "optimizer": name,
            "trial": trial,
            "learning_rate": [0.1, 0.2][trial],
            "threshold": np.nan,
            "strength": [1.0, 3.0][trial] if name == "pulled" else np.nan,
            "seed": seed,
            "epoch": epoch,
            f"{split}_loss_1": old_loss + shift,
            f"{split}_loss_2": new_loss,
            f"{split}_accuracy_1": old + shift,
            f"{split}_accuracy_2": new,
        }


@pytest.fixture
def metrics():
    return pd.DataFrame([*rows_of("plain", PLAIN), *rows_of("pulled", PULLED)])


@pytest.fixture
def found(metrics):
    return fronts.study(metrics, META)


def test_the_best_mean_by_weight(found):
    """At 0.25 two are 0.725, at 0.75 two are 0.8: the earlier one is chosen."""
    chosen = [fronts.best_mean(found, "plain", weight) for weight in fronts.WEIGHTS]
    assert chosen == [(0, 2), (0, 3), (1, 2)]
    assert fronts.best_mean(found, "pulled", 0.25) == Configuration(0, 3)


@pytest.mark.parametrize(
    ("gain", "loss", "plain", "pulled"),
    [
        (0.5, 1.0, (0, 2), (0, 3)),
        (0.75, 0.5, (0, 3), (1, 2)),
        (0.9, 0.2, (0, 3), None),
    ],
)
def test_the_lowest_old_loss_at_a_gain(gain, loss, plain, pulled, found):
    """Plain gains 2.0; a loss that is not a number reaches nothing."""
    assert fronts.target(found, "plain", gain) == pytest.approx(loss)
    assert fronts.at_gain(found, "plain", "plain", gain) == plain
    assert fronts.at_gain(found, "pulled", "plain", gain) == pulled


def test_the_whole_gain_is_reached_by_its_base():
    """In floating point, before - 1.0 * (before - least) is less than these."""
    keys = ["optimizer", "trial", "epoch"]
    index = pd.MultiIndex.from_tuples([("plain", 0, 1), ("plain", 0, 2)], names=keys)
    losses = {"new_loss": [6.289392670833333, 0.1628193], "old_loss": [0.0, 1.0]}
    tuning = pd.DataFrame(losses, index)
    found = fronts.Study(tuning, tuning, start=1, higher=True)
    assert fronts.at_gain(found, "plain", "plain", 1.0) == (0, 2)


def test_scores_of_no_task_are_shown_beside_those_of_tasks():
    labels = {x: x for x in ("bits", "bits_1", "bits_12", "bits_own", "loss_own")}
    score = {"name": "bits", "labels": labels}
    assert continual.others({"score": score}) == ["bits_own"]
    rows = {"optimizer": "a", "trial": [0, 0, 0, 1], "epoch": [2, 2, 1, 2]}
    rows |= {"seed": [3, 2, 2, 2], "test_bits_own": [0.3, 0.2, 8.0, 9.0]}
    chosen = fronts.Configuration(trial=0, epoch=2)
    found = fronts.tested_other(pd.DataFrame(rows), "a", chosen, "bits_own")
    assert found.tolist() == [0.2, 0.3]  # in the order of the seeds


def test_scores_are_of_the_other_seeds(found):
    tested = fronts.tested(found, "pulled", Configuration(1, 2))
    assert [*tested.index] == [7, 8, 9]
    np.testing.assert_allclose(tested.old_loss, [0.39, 0.4, 0.41])
    made = fronts.tested_gain(found, "pulled", Configuration(1, 2), "plain")
    np.testing.assert_allclose(made, [0.75] * 3)


def test_ends_of_what_was_tried_are_marked(metrics):
    numbers = fronts.describe(metrics, "pulled", Configuration(1, 2))
    assert numbers == {
        "learning_rate": "0.2 (edge)",
        "strength": "3 (edge)",
        "epoch": "2",
    }
    more = metrics.assign(trial=2, learning_rate=0.3, strength=9.0)
    numbers = fronts.describe(pd.concat([metrics, more]), "pulled", Configuration(1, 2))
    assert numbers == {"learning_rate": "0.2", "strength": "3", "epoch": "2"}


def test_the_report_of_known_rows(metrics, tmp_path):
    """At 0.75 of the gain both lose as much on the old task: 0.5 and 0.4."""
    text = continual.draw(tmp_path, metrics, META)
    assert (tmp_path / "front.png").stat().st_size > 1000
    assert "n = 3 seeds" in continual.front(metrics, META).get_suptitle()
    assert "| pulled | 0.2500 +- 0.0248 (70%)" in " ".join(text.split())
    assert "pulled - plain (primary)" in text
    assert "-0.1000 +- 0.0000 *" in text
    assert "not reached" in text


def test_a_front(found):
    """Levels reach 0.45, 0.7 and 0.75; 0.01 / 3**0.5 is the shifts' standard error."""
    points = continual.front_points(found, "pulled", "plain")
    error = 0.01 / np.sqrt(3)
    expected = [(0.45, 0.2, error), (0.7, 0.25, error), (0.75, 0.4, error)]
    np.testing.assert_allclose(points, expected)


def test_what_no_choice_needs_is_dropped(metrics, tmp_path):
    """The report stays the same, to the byte."""
    text = continual.draw(tmp_path, metrics, META)
    kept = fronts.pruned(metrics, META)
    assert len(kept) < len(metrics)
    assert (kept.epoch == 3).sum() == (metrics.epoch == 3).sum()
    assert continual.draw(tmp_path, kept, META) == text
    figure = (tmp_path / "front.svg").read_bytes()
    continual.draw(tmp_path, metrics, META)
    assert (tmp_path / "front.svg").read_bytes() == figure


def test_holm_and_p():
    """Holm's own example of three; p of (1, 2, 3) is that of t = 2 * sqrt(3)."""
    np.testing.assert_allclose(statistics.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert statistics.p_value(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.0742, 1e-3)
    assert statistics.p_value(np.zeros(3)) == 1
    assert statistics.p_value(np.array([0.5])) == 1


def test_a_permuted_p_counts_the_signs():
    """By hand: of 2^8 signs, the share with a mean as far from 0."""
    pairs = np.array([0.3, -0.1, 0.4, 0.25, -0.05, 0.6, 0.15, 0.02])
    means = np.array(list(itertools.product((1, -1), repeat=8))) @ pairs / 8
    share = np.mean(np.abs(means) >= abs(pairs.mean()) - 1e-12)
    assert 0.01 < share < 0.1
    assert statistics.permuted_p(pairs) == pytest.approx(share, rel=1e-12)
    assert statistics.permuted_p(-pairs) == statistics.permuted_p(pairs)
    assert statistics.permuted_p(np.zeros(3)) == 1
    assert statistics.permuted_p(np.array([0.5])) == 1


def test_a_permuted_p_of_many_pairs_is_drawn():
    """Of 30 normal pairs it is near the t test's; draws alone err by 0.001."""
    pairs = np.random.default_rng(0).normal(0.33, 1, 30)
    p = statistics.permuted_p(pairs)
    assert p == statistics.permuted_p(pairs)
    assert p == pytest.approx(statistics.p_value(pairs), abs=0.01)
    assert statistics.permuted_p(np.ones(30)) == 2 / (statistics.SIGNS + 1)


def test_visible_difference():
    """With n = 2: (12.706 + 1.376) * the standard error, from tables of Student's t."""
    assert statistics.visible(np.array([0.0, 2.0])) == pytest.approx(14.08, rel=1e-3)


def test_tuning_seeds_are_validated_and_the_others_tested():
    experiment = replace(
        experiments.tiny(CONTINUAL_DIGITS), groups=(("", ("plain",)),), seeds=3
    )
    keys, shown = [*experiment.problem.score.labels], {}
    for program in grid.programs(experiment):
        blank = dict.fromkeys(metric_rows.columns(experiment), np.nan)
        rows = pd.DataFrame(
            [blank | {"seed": s, "trial": t} for s in program.seeds for t in (0, 1)]
        ).assign(diverged=False)

        def evaluate(name, split, trial=None):
            return {key: np.full((len(rows) // 2, 2), 0.5) for key in keys}  # noqa: B023

        found = metric_rows.evaluation(experiment, program, rows, evaluate)
        for split in ("validation", "test"):
            scores = found[[f"{split}_{key}" for key in keys]].notna().all(axis=1)
            shown[split, *program.seeds] = scores.all()
    assert shown == {
        ("validation", 0): True,
        ("test", 0): False,
        ("validation", 1, 2): False,
        ("test", 1, 2): True,
    }


def test_the_first_epochs_are_not_evaluated():
    evaluated = [
        epoch
        for epoch in range(1, CONTINUAL_DIGITS.epochs + 1)
        if epochs.is_evaluated(CONTINUAL_DIGITS, epoch)
    ]
    assert evaluated == [*range(12, 25)]


def test_meta_data_are_json():
    """The report reads the problem's numbers beside the experiment's."""
    e = execute.describe(
        replace(CONTINUAL_DIGITS, groups=(("", ("plain",)),)),
        CONTINUAL_DIGITS.problem.load(None),
    )["experiment"]
    assert {"tasks", "epochs_each", "tuning_seeds", "first_seed"} <= e.keys()
    json.dumps(e)
