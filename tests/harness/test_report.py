"""Tables and figures of every kind of experiment, from metrics made by hand."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks import experiments
from benchmarks.experiments import classify, language
from benchmarks.records import origin, run_files
from benchmarks.report import figures, notes, statistics, tables
from benchmarks.report.statistics import Condition
from benchmarks.runs import execute, grid
from benchmarks.runs.execute import describe
from benchmarks.tasks.classify import Images

EPOCHS = (1, 2)


def made(experiment, score):
    """Metrics and meta data of a run; `score` maps a row's numbers to its score."""
    rows = [
        {
            "batch_size": program.batch_size,
            "noise": str(program.noise),
            "optimizer": label,
            "trial": trial,
            "learning_rate": numbers["learning_rate"][trial],
            "threshold": np.nan,
            "strength": numbers.get("strength", [np.nan] * (trial + 1))[trial],
            "seed": seed,
            "epoch": epoch,
            "train_loss": 1 / epoch,
            f"train_{experiment.problem.score.name}": 0.5,
            "validation_loss": 2 / epoch,
            "diverged": False,
        }
        for program in grid.programs(experiment)
        for name in program.optimizers
        for numbers in [grid.numbers(experiment, name)]
        for trial, label in enumerate(grid.labels(experiment, name))
        for seed in range(experiment.seeds)
        for epoch in EPOCHS
        if epoch == max(EPOCHS) or experiment.evaluate_every
    ]
    metrics = pd.DataFrame(rows)
    name, scores = experiment.problem.score.name, map(score, metrics.itertuples())
    metrics[f"validation_{name}"] = metrics[f"test_{name}"] = list(scores)
    metrics["test_loss"] = 1.0
    meta = {
        "command": "python -m benchmarks run it",
        **describe(experiment, SimpleNamespace(source="made by hand")),
        **execute.words_of(experiment.problem, references={}),
        "lanes": experiment.runs,
        "device": {"platform": "cpu", "cores": 2},
        "seconds": {"compile": 1.0, "run": 2.0},
        "versions": dict.fromkeys(("python", *origin.PACKAGES, "prox_optax"), "1"),
    }
    return metrics, json.loads(json.dumps(meta))


def by_seed(row):
    """0.9 and a little more for every seed, the same for every method."""
    return round(0.9 + 0.01 * row.seed, 6)


@pytest.fixture
def noisy():
    groups = (("SGD", ("sgd", "trsgd")), ("Adam", ("adam", "tradam")))
    return replace(
        experiments.tiny(classify.NOISE_DIGITS),
        groups=groups,
        contrasts=(("trsgd", "sgd"), ("tradam", "adam")),
    )


def test_every_method_is_compared_with_its_own_base(noisy):
    """TRAdam is 0.02 above Adam under the Gaussian noise, at every seed, only there."""

    def score(row):
        better = row.optimizer == "tradam" and row.noise.startswith("gaussian")
        return by_seed(row) + 0.02 * better

    table = tables.table(*made(noisy, score))
    sections = table.split("\n\n")
    assert [x for x in sections if x.endswith(":") and x.startswith("Batch")] == [
        "Batch 32:",
        "Batch 32, gaussian 0.3:",
        "Batch 32, student-t 0.1:",
    ]
    rows = [line.split(" | ") for line in table.splitlines() if "| tradam  " in line]
    # Seeds 0 and 1 differ by 0.01: half of it is the standard error, and times
    # t = 12.706 half of the interval.
    assert [row[2].strip() for row in rows[:2]] == [
        "0.9050 +- 0.0635 (n=2)",
        "0.9250 +- 0.0635 (n=2)",
    ]
    assert [row[3].strip() for row in rows[:3]] == [
        "+0.0000 +- 0.0000 equal",
        "+0.0200 +- 0.0000",
        "+0.0000 +- 0.0000 equal",
    ]
    assert {row[4].strip() for row in rows} == {"adam"}
    (contrast,) = [line for line in table.splitlines() if "tradam - adam" in line]
    assert "+0.0000 +- 0.0000 | +0.0200 +- 0.0000 *" in contrast


def test_a_difference_has_half_of_its_interval(noisy):
    """TRSGD is 0 and 0.02 above SGD: the error is 0.01, times t = 12.706."""

    def score(row):
        return by_seed(row) + 0.02 * row.seed * (row.optimizer == "trsgd")

    metrics, meta = made(noisy, score)
    rows = [x for x in tables.table(metrics, meta).splitlines() if "| trsgd  " in x]
    assert {row.split(" | ")[3].strip() for row in rows} == {"+0.0100 +- 0.1271 equal"}
    assert "- +-: half of the 95% interval" in notes.tuned(metrics, meta)
    assert "- +-: half of the 95% interval" in notes.fixed(metrics, meta)


@pytest.mark.parametrize(
    ("experiment", "names"),
    [
        (classify.NOISE_DIGITS, {"accuracy"}),
        (classify.ABLATION_DIGITS, {"accuracy", "strengths"}),
        (classify.PAPER_CIFAR10, {"curves"}),
    ],
    ids=["rates", "strengths", "epochs"],
)
def test_each_kind_has_its_figure(experiment, names, tmp_path):
    tiny = experiments.tiny(experiment)
    metrics, meta = made(replace(tiny, groups=tiny.groups[:1], contrasts=()), by_seed)
    run_files.write_run(tmp_path, metrics.to_csv(index=False), meta)
    tables.report(tmp_path, "it")
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == names == {path.stem for path in tmp_path.glob("*.svg")}


def test_of_many_batch_sizes_the_first_and_last_have_a_figure(tmp_path, monkeypatch):
    """Eighteen panels are too small on a page."""
    saved = {}
    monkeypatch.setattr(
        figures, "save", lambda _, name, drawn: saved.update({name: drawn})
    )
    tiny = experiments.tiny(classify.SENSITIVITY_DIGITS)
    few = replace(tiny, groups=tiny.groups[:1], contrasts=())
    tables.draw(tmp_path, *made(replace(few, batch_sizes=(1, 2, 4)), by_seed))
    assert {*saved} == {"accuracy"}
    tables.draw(tmp_path, *made(replace(few, batch_sizes=(1, 2, 4, 8)), by_seed))
    assert {*saved} == {"accuracy", "accuracy-ends"}
    titles = [axes.get_title() for axes in saved["accuracy-ends"].axes]
    assert titles == ["batch 1", "batch 8"]


def test_one_rate_has_no_usable_range():
    tiny = experiments.tiny(classify.PAPER_CIFAR10)
    table = tables.table(*made(tiny, lambda row: row.epoch / 4))
    assert "usable" not in table
    assert "| trsgd     | 0.1   | 0.5000 +- 0.0000 (n=2)" in table
    assert "nothing is chosen" in table


def test_curves_show_two_methods_a_panel_on_the_test_images():
    tiny = experiments.tiny(classify.PAPER_CIFAR10)
    figure = figures.curves(*made(tiny, lambda row: row.epoch / 4))
    assert len(figure.axes) == 4  # loss and accuracy of each pair
    accuracy = figure.axes[1]
    lines = {line.get_label(): line for line in accuracy.lines}
    assert set(lines) == {"sgd, train", "sgd, test", "trsgd, train", "trsgd, test"}
    np.testing.assert_allclose(lines["sgd, test"].get_xydata(), [[1, 0.25], [2, 0.5]])
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == [
        "cross-entropy loss (nats)",
        "accuracy (fraction correct)",
    ]


def test_strengths_are_drawn_at_their_own_best_rates():
    tiny = experiments.tiny(classify.ABLATION_DIGITS)
    metrics, meta = made(tiny, lambda row: 0.5 + row.strength + row.learning_rate)
    figure = figures.strengths(metrics, meta)
    curve = np.asarray(figure.axes[0].lines[0].get_ydata(), float)
    np.testing.assert_allclose(
        curve, [0.5 + max(tiny.learning_rates), 0.6 + max(tiny.learning_rates)]
    )
    name = "coupled, inner decay, strength 0.1"
    row = tables.tuned_row(metrics, Images.score, Condition(8, "no noise"), name, None)
    assert row[1] == f"{max(tiny.learning_rates):.3g}"
    highest = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(np.asarray(highest, float), max(tiny.learning_rates))


@pytest.mark.parametrize(
    ("accuracy", "usable", "decades"),
    [
        ((0.9, 0.5), "<=0.018 to 0.018", ">=0.01"),
        ((0.5, 0.9), "0.031 to >=0.032", ">=0.01"),
        ((0.9, 0.9), "<=0.018 to >=0.032", ">=0.25"),
    ],
    ids=["below", "above", "both"],
)
def test_a_range_cut_off_by_the_grid_is_marked(accuracy, usable, decades):
    tiny = experiments.tiny(classify.DEMO)  # rates 0.0178 and 0.0316
    values = dict(zip(tiny.learning_rates, accuracy, strict=True))
    metrics, _ = made(tiny, lambda row: values[row.learning_rate])
    row = tables.tuned_row(metrics, Images.score, Condition(8, "no noise"), "sgd", None)
    assert row[5] == usable
    assert row[6].startswith(decades)


def test_a_pair_named_twice_is_one_comparison(noisy):
    _, meta = made(noisy, by_seed)
    metrics, _ = made(noisy, by_seed)
    # trsgd, adam and tradam against their bases; the contrasts repeat two of them.
    assert "Of the 9 comparisons" in notes.tuned(metrics, meta)


def test_a_task_is_reported_in_its_own_words(tmp_path):
    """Bits per byte: less is better, with an interval and what needs no training."""
    few = replace(
        experiments.tiny(language.LANGUAGE), groups=(("SGD", ("sgd", "trsgd")),)
    )
    low, high = few.learning_rates
    alone = replace(few, contrasts=(), batch_sizes=(4,))
    metrics, meta = made(
        alone, lambda row: 2.0 + (row.learning_rate == low) + 0.1 * row.seed
    )
    meta["references"] = {"a uniform guess": {"bits_per_byte": 8.0}}
    run_files.write_run(tmp_path, metrics.to_csv(index=False), meta)
    table = tables.report(tmp_path, "it")
    assert "| optimizer | best rate | test bits per byte " in table
    assert f"| sgd       | {high:.3g}" in table
    # Seeds 0.1 apart: 0.05 is the error, and times t = 12.706 half of the interval.
    assert "2.0500 +- 0.6353 (n=2)" in table
    assert re.search(r"\| sgd, batch 4 +\| 2.0500 \+- 0.6353 +\|", table)
    assert re.search(r"\| a uniform guess +\| 8.0000 +\|", table)
    assert "the lowest mean validation bits per byte" in table
    assert "bits per byte ended\n  above 4.5." in table
    assert (tmp_path / "bits_per_byte.png").is_file()
    figure = figures.against_rate(metrics, meta, statistics.conditions(meta))
    assert figure.axes[0].get_ylabel() == "validation bits per byte"
    np.testing.assert_allclose(figure.axes[1].get_ylim(), (2.05 - 0.08, 2.55))


def test_measures_besides_the_score_have_a_table():
    tiny = experiments.tiny(classify.PAPER_CIFAR10)
    metrics, meta = made(tiny, lambda row: row.epoch / 4)
    meta["score"]["besides"] = ["loss"]
    rows = [
        line for line in tables.measures_table(metrics, meta) if line.startswith("|")
    ]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[0] == ["on the test split", "accuracy", "loss"]
    assert cells[2] == ["sgd, batch 8", "0.5000 +- 0.0000", "1.0000 +- 0.0000"]
