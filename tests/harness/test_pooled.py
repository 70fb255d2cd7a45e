"""Parts of an experiment that are read as one run, from metrics made by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_report import made

from benchmarks.experiments import one_gpu
from benchmarks.records import pooled, run_files
from benchmarks.report import tables

ORIGIN = {
    "device": {"platform": "gpu", "kind": "a GPU", "cores": 2},
    "git_commit": "0" * 40,
    "date": "2026-01-01",
}


def score(row):
    """TRSGD is ahead of its control by the seed's number of points."""
    return 0.8 + 0.01 * row.seed * (row.optimizer == "trsgd")


def write_part(folder, first, seeds, **changes):
    experiment = replace(one_gpu.POOLED_30, seeds=seeds, first_seed=first, **changes)
    metrics, meta = made(experiment, score)
    metrics["seed"] += first
    metrics["epoch"] *= experiment.epochs // metrics.epoch.max()  # to the very end
    own = np.where(metrics.optimizer == "trsgd", 0.01 * metrics.seed, 0)
    metrics["test_accuracy"] = 0.8 + own
    path = folder / pooled.Part(first, seeds).folder
    meta |= ORIGIN
    run_files.write_run(path, metrics.to_csv(index=False), meta)
    return meta


def test_parts_are_one_run_with_all_their_seeds(tmp_path):
    """The mean over seeds 0 to 4 of 0, 1, 2, 3 and 4 points is 2."""
    write_part(tmp_path, 3, 2)
    write_part(tmp_path, 0, 3)
    (tmp_path / "seeds-5-5").mkdir()  # begun, not finished
    metrics, meta = pooled.read(tmp_path, "run")
    assert sorted(metrics.seed.unique()) == [0, 1, 2, 3, 4]
    assert meta["lanes"] == 55
    assert [part["first_seed"] for part in meta["parts"]] == [0, 3]
    text = tables.report(tmp_path, "a command")
    assert "| trsgd - sgd at 0.212 x (primary)   | +0.0200" in text
    assert "mean of the last 10% of the epochs" in text
    assert "- seeds 3 to 4: 2026-01-01, a GPU, commit 000000000000" in text
    assert (tmp_path / "panels.png").is_file()


def test_parts_with_a_seed_in_common_are_refused(tmp_path):
    write_part(tmp_path, 0, 3)
    write_part(tmp_path, 2, 1)
    with pytest.raises(ValueError, match="seeds in common: remove one"):
        pooled.read(tmp_path, "run")


def test_parts_of_two_experiments_are_refused(tmp_path):
    write_part(tmp_path, 0, 1)
    write_part(tmp_path, 1, 1, epochs=200)
    with pytest.raises(ValueError, match=r"seeds-1-1 is of another experiment than"):
        pooled.read(tmp_path, "run")


def test_parts_may_convolve_otherwise_and_name_it(tmp_path):
    network = "resnet18, convolutions in place"
    write_part(tmp_path, 0, 1)
    changed = replace(one_gpu.POOLED_30.problem, network=network)
    write_part(tmp_path, 1, 1, problem=changed)
    _, meta = pooled.read(tmp_path, "run")
    assert [part["network"] for part in meta["parts"]] == ["resnet18", network]
    found = json.loads((tmp_path / "seeds-1-1" / "meta.json").read_text())
    assert found["experiment"]["network"] == network
