"""What methods for tasks in series keep, by hand, and the files of the measurements."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.costs import continual, measurements, timing
from benchmarks.experiments.continual import CONTINUAL_DIGITS
from benchmarks.records import files

PARAMETERS = 64 * 64 + 64 + 64 * 10 + 10
EXAMPLE = 64 * 4 + 4  # 64 floats and a label
COPIES = {
    "plain": 1,  # the momentum
    "decay to 0": 2,  # and an anchor of zeros
    "l2-sp, coupled": 2,
    "l2-sp, decoupled": 2,
    "ewc, coupled": 3,  # and the Fisher information
    "ewc, decoupled": 3,
    "sfa": 2,
    "average from the old": 2,
    "wise-ft": 2,
    "kl on new inputs": 2,  # and the old network
    "kl on new inputs, ewc": 4,
    "replay of 150": 1,
    "kl on 150 kept": 2,
    "replay of 10": 1,
    "kl on 10 kept": 2,
    "plain adam": 2,  # both moments
    "adam, l2-sp, decoupled": 3,
    "adam, ewc, coupled": 4,
    "adam, ewc, decoupled": 4,
    "adam, ewc from its moment, coupled": 4,
    "adam, ewc from its moment, decoupled": 4,
}
COUNTERS = 40  # bytes, at most: steps, tasks and a share


def test_what_methods_keep_is_counted():
    data_set = CONTINUAL_DIGITS.problem.load(None)
    assert {*COPIES} == {*CONTINUAL_DIGITS.optimizers}
    for name, copies in COPIES.items():
        row = continual.kept(continual.subject(CONTINUAL_DIGITS, data_set, name))
        assert row["method"] == name
        assert int(row["parameters_bytes"]) == 4 * PARAMETERS
        over = int(row["state_bytes"]) - 4 * PARAMETERS * copies
        assert 0 < over <= COUNTERS, name
        assert row["state"] == f"{copies}.00"
        many = {"150": 150, "10": 10}
        (number,) = {many[x] for x in name.split() if x in many} or {0}
        assert int(row["examples_bytes"]) == EXAMPLE * number


RESULTS = Path(__file__).parents[2] / "benchmarks/results/continual-costs"


def test_the_committed_table_is_of_the_committed_rows(tmp_path):
    for file in (continual.KEPT, continual.STEPS):
        if (RESULTS / file).is_file():
            (tmp_path / file).write_bytes((RESULTS / file).read_bytes())
    text = continual.write(tmp_path, files.read_json(RESULTS / "meta.json"))
    assert text == (RESULTS / "table.md").read_text(encoding="utf-8")


def test_times_are_of_a_step_and_paired(monkeypatch):
    """A call of 10 steps: the base 1 s, the method 2 and 3 s, what is once 0.5 s."""
    turns = [(1.0, 2.0, 0.5), (1.0, 3.0, 0.5), (1.0, 2.0, 0.5)]
    monkeypatch.setattr(timing, "interleaved", lambda *works: turns)
    work = continual.Works(lambda: None, lambda: None, 10)
    found = continual.measure(work, work)
    assert [found[x] for x in ("step_us", "step_us_low", "step_us_high")] == [
        *("200000.0", "200000.0", "300000.0"),
    ]
    assert (found["to_base"], found["to_base_high"]) == ("2.000", "3.000")
    assert found["after_ms"] == "500.00"


@pytest.mark.slow
def test_the_command_writes_a_table_before_the_times_and_after(tmp_path, monkeypatch):
    tables = []
    complete = measurements.complete

    def noted(*args):
        tables.append((tmp_path / "table.md").read_text())
        return complete(*args)

    monkeypatch.setattr(measurements, "complete", noted)
    arguments = ["continual-costs", "--tiny", "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    tables.append((tmp_path / "table.md").read_text())
    assert [text.count(continual.NOT_MEASURED) for text in tables] == [9, 0]
    steps = measurements.read(tmp_path / "steps.csv")
    assert [row["base"] for row in steps] == ["plain"] * 3
    assert all(float(row["step_us"]) > 0 for row in steps)
    assert f"`{continual.COMMAND} --tiny` on" in tables[1]
