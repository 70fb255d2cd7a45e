"""Runs that stop in time and go on, and the plan for one GPU."""

import json
import shutil
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from data_files import random_images, write_tar
from jax.experimental.compilation_cache import compilation_cache
from typer.testing import CliRunner

from benchmarks import experiments, models
from benchmarks.__main__ import app
from benchmarks.costs import measurements
from benchmarks.costs.gpu import (
    convolutions,
    library_tests,
    seeds,
    table,
    update_floor,
)
from benchmarks.costs.gpu import plan as plans
from benchmarks.costs.speed import replicas
from benchmarks.data import cifar10
from benchmarks.experiments import classify, one_gpu
from benchmarks.records import files, origin
from benchmarks.records.pooled import Part
from benchmarks.runs import checkpoint, grid, placement, program, signals
from benchmarks.runs.deadline import Deadline
from benchmarks.runs.execute import execute, prepare
from benchmarks.tasks import classify as classifying

# Two programs of two epochs of 16 steps, each in parts of 4.
SMALL = replace(
    experiments.tiny(classify.SENSITIVITY_DIGITS),
    groups=(("", ("sgd", "trsgd")),),
    contrasts=(),
    problem=replace(classify.DIGITS, train=128),
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
    assert grid.parts(SMALL, 128, 8) == range(0, 16, 4)
    assert grid.parts(replace(SMALL, part=None), 128, 8) == range(0, 16, 16)
    assert grid.parts(replace(SMALL, part=99), 135, 8) == range(0, 16, 16)
    assert grid.parts(replace(SMALL, part=5), 17, 1) == range(17)


@pytest.mark.slow
def test_an_epoch_in_parts_is_the_epoch():
    """The same steps in the same order; the means of the measures too."""

    def trained(part):
        e = replace(SMALL, part=part)
        whole = e.problem.load(None)
        which = grid.programs(e)[1]
        built = program.build(e, whole, which, placement.on_one_device(e))
        lanes = built.start()
        for first in grid.parts(e, 128, 8):
            lanes = built.advance(lanes, 1, first)
        (lanes,) = lanes
        return lanes["trsgd"]

    whole = trained(None)
    for part in (4, 1):
        in_parts = trained(part)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(in_parts), strict=True):
            # Another program may round otherwise.
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not jnp.isnan(whole.measures["loss"]).any()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert execute(prepare(SMALL, "a test", folder, resume=False))
    return (folder / "metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("asks", [2, 6])
def test_a_run_stopped_in_time_goes_on_to_the_same_numbers(undisturbed, tmp_path, asks):
    """One ask a program, one a part: it stops within epochs and at their ends."""
    calls, places, finished = 0, [], False
    while not finished:
        Stop.left = asks
        run = prepare(SMALL, "a test", tmp_path, resume=calls > 0)
        finished = execute(run, Stop())
        calls += 1
        if not finished:
            places.append(checkpoint.reached(tmp_path))
    assert (tmp_path / "metrics.csv").read_bytes() == undisturbed
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 2 * 2 * 2 * 2
    assert not (tmp_path / "checkpoints").exists()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write a folder with random images for CIFAR-10 and a text."""
    whole = cifar10.SPEC
    rng = np.random.default_rng(0)
    parts = (random_images(rng, whole, size) for size in (500, 200))
    folder = tmp_path_factory.mktemp("data")
    archive = write_tar(tmp_path_factory.mktemp("images"), *parts)
    archive.rename(folder / replicas.CIFAR10)
    (folder / "words.txt").write_text(
        "to be or not to be, that is the question.\n" * 50
    )
    with pytest.MonkeyPatch.context() as patch:
        small = whole._replace(train=500, test=200)
        patch.setattr(cifar10, "SPEC", small)
        yield folder


@pytest.fixture
def no_cache():
    """Leave no cache of compiled programs to other tests."""
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


def ask(*arguments):
    command = ["gpu", "--tiny", *map(str, arguments)]
    return CliRunner().invoke(app, command)


def metrics_of(folder):
    return {path.parent.name: path.read_bytes() for path in folder.rglob("metrics.csv")}


def names_in(path, *columns):
    return [tuple(row[column] for column in columns) for row in measurements.read(path)]


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.usefixtures("no_cache")
def test_the_plan_in_one_call(data, tmp_path):
    whole = tmp_path / "whole"
    ran = ask("--minutes", 60, "--data-dir", data, "--out", whole)
    assert ran.exit_code == 0, ran.output
    assert "Stopped in time" not in ran.output
    assert (whole / "plan.md").read_text() in ran.output
    tiny = plans.tiny(plans.Plan(whole, data))
    assert len(metrics_of(whole)) == len(tiny.experiments) + 2 == 6
    for each in tiny.experiments:
        assert (whole / each.name / "table.md").read_text() in ran.output
    cells = names_in(whole / "kernel.csv", "tree", "dtype", "optimizer")
    wanted = [tuple(cell.key.values()) for cell in update_floor.cells(tiny.trees)]
    assert cells == wanted
    measured = [(each.name, str(n)) for each in tiny.experiments for n in (1, 2)]
    assert names_in(whole / "lanes.csv", "experiment", "lanes") == measured
    assert "processes" in [way for (way,) in names_in(whole / "ways.csv", "way")]
    assert "# Processes" in ran.output
    (pooled,) = tiny.pooled
    seeds = sorted(path.name for path in (whole / pooled.name).glob("seeds-*"))
    assert seeds == ["seeds-0-0", "seeds-1-1"]
    assert (whole / pooled.name / "table.md").read_text() in ran.output
    assert (whole / pooled.name / "panels.png").is_file()
    assert "# The library's tests" in ran.output
    (timed,) = measurements.read(whole / "convolutions.csv")
    assert timed["seeds"] == "1"
    assert float(timed["examples_a_second"]) > 0
    meta = (whole / "meta.json").read_text()
    assert str(data.parent) not in meta


@pytest.mark.slow
@pytest.mark.usefixtures("no_cache")
def test_the_plan_in_several_calls(data, tmp_path, monkeypatch):
    """Of one experiment that trains its optimizers together, and one that does not."""
    whole, stopped, tiny = tmp_path / "whole", tmp_path / "stopped", plans.tiny

    def shorter(plan):
        plan = tiny(plan)
        few, counts = plan.experiments[::2], plan.counts[::2]
        none = tmp_path / "none"
        return plan._replace(experiments=few, counts=counts, processes=(), tests=none)

    monkeypatch.setattr(plans, "tiny", shorter)
    ran = ask("--minutes", 60, "--data-dir", data, "--out", whole)
    assert ran.exit_code == 0, ran.output
    assert len(metrics_of(whole)) == 2 + 2
    monkeypatch.setattr(plans, "Deadline", Stop)
    monkeypatch.setattr(seeds, "Deadline", Stop)
    shutil.copytree(whole / plans.COMPILED, stopped / plans.COMPILED)  # to save time
    outputs = []
    while not outputs or "Stopped in time" in outputs[-1]:
        Stop.left = 26
        again = ask("--minutes", 60, "--data-dir", data, "--out", stopped)
        assert again.exit_code == 0, again.output
        outputs.append(again.output)
    assert len(outputs) > 2
    assert any("Not finished" in output for output in outputs)
    assert metrics_of(stopped) == metrics_of(whole)
    for file in ("kernel.csv", "lanes.csv"):
        columns = ("optimizer",)
        assert names_in(stopped / file, *columns) == names_in(whole / file, *columns)
    meta = json.loads((stopped / "meta.json").read_text())
    assert len(meta["calls"]) == len(outputs)


@pytest.mark.usefixtures("no_cache")
def test_out_of_time_before_the_first_measurement(data, tmp_path):
    ran = ask("--minutes", 0, "--data-dir", data, "--out", tmp_path / "plan")
    assert ran.exit_code == 1
    assert "Nothing was measured: give more --minutes." in ran.output


@pytest.mark.usefixtures("no_cache")
def test_a_signal_stops_the_plan(data, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "asked", lambda: 15)
    ran = ask("--data-dir", data, "--out", tmp_path / "plan")
    assert ran.exit_code == 128 + 15
    assert "the same command with the same --out goes on." in ran.output


def test_missing_data(data, tmp_path):
    data = shutil.copytree(data, tmp_path / "data")
    nothing = ask("--out", tmp_path / "plan")
    assert nothing.exit_code == 1
    assert "CIFAR-10: no folder was named. Get cifar-10-python" in nothing.output
    (data / "words.txt").unlink()
    no_text = ask("--data-dir", data, "--out", tmp_path / "plan")
    assert no_text.exit_code == 1
    assert "0 .txt files; name one: --data-dir FILE" in no_text.output
    assert not (tmp_path / "plan").exists()


def test_a_plan_begun_on_another_device_is_refused(data, tmp_path):
    plan = plans.tiny(plans.Plan(tmp_path, data))
    device = {"platform": "gpu", "kind": "another"}
    path = tmp_path / "meta.json"
    path.write_text(json.dumps(plans.begin(plan) | {"device": device}))
    with pytest.raises(ValueError, match=r"otherwise:\n  device.platform: gpu there"):
        plans.begin(plan)


def test_the_floor_counts_what_an_update_has_to_move():
    """Of SGD g, m, w read and m, w written; the anchor read, and taken every tenth."""
    found = {
        name: update_floor.arrays_moved(name)
        for name in ("sgd", "trsgd", "adam", "tradam")
    }
    assert found == pytest.approx({"sgd": 5, "trsgd": 6.2, "adam": 7, "tradam": 8.2})


@pytest.mark.parametrize("plain", [each for each, _ in one_gpu.PLAIN])
def test_plain_convolutions_are_of_a_network_that_is_there(plain):
    assert plain.problem.network in classifying.NETWORKS
    assert plain.name not in experiments.EXPERIMENTS


def test_the_replicas_end_with_the_memory(tmp_path, monkeypatch):
    def training(one, data_set):
        return replicas.Training(None, 8 * one.runs, 128, 1, 0.5)

    def full(work):
        if work.examples < 4 * 8:
            return dict.fromkeys(replicas.MEASURES, f"{work.examples}.0")
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(replicas, "compile_training", training)
    monkeypatch.setattr(replicas, "speed", full)
    for _ in range(2):  # the second time all is there
        counts = [(SMALL, (1, 2, 4, 8))]
        assert replicas.run(tmp_path, counts, None, Deadline())
    found = measurements.read(tmp_path / "lanes.csv")
    assert [row["lanes"] for row in found] == ["1", "2", "4"]
    assert [replicas.fits(row) for row in found] == [True, True, False]
    assert replicas.best(found, SMALL) == 16.0


@pytest.mark.slow
def test_a_part_that_was_stopped_goes_on(data, tmp_path, monkeypatch):
    """It keeps its seeds and its network, whatever was measured since."""
    plan = plans.tiny(plans.Plan(tmp_path, data))
    (experiment,) = plan.pooled
    monkeypatch.setattr(seeds, "Deadline", Stop)
    where = tmp_path, "a command", data, plan.ways, experiment.name
    call = seeds.Call(*where, time.monotonic() + 1000)
    Stop.left = 7  # one for the program, one for each fifth of an epoch
    assert not seeds.train_next(experiment, call)
    own = tmp_path / experiment.name
    assert seeds.interrupted(own) == (Part(0, 1), "small")
    assert seeds.unseen(experiment, own) == [0, 1]
    Stop.left = 1000
    assert seeds.train_next(experiment, call)
    assert seeds.interrupted(own) is None
    assert seeds.unseen(experiment, own) == [1]
    (whole,) = metrics_of(own).values()
    assert whole.count(b"\n") == 1 + 2 * 2  # two optimizers, two epochs


def timed(way, seeds, speed):
    """Make a row of convolutions.csv, of an experiment of 45,000 examples an epoch."""
    row = {"experiment": one_gpu.POOLED_30.name, "convolution": way}
    row |= {"seeds": str(seeds), "examples_an_epoch": "45000"}
    return row | {"examples_a_second": str(speed), "compile_seconds": "40"}


def test_the_fastest_way_of_a_device_trains_on_it():
    ways = seeds.Ways()
    found = [
        timed("in place", 3, 100.0),
        timed("patches", 3, 300.0),
        timed("XLA's own", 3, "failed"),
        timed("in place", 5, 900.0),  # with more seeds: no comparison
    ]
    assert seeds.fastest(ways, found) == "patches"
    assert seeds.fastest(ways, found[:1]) == "in place"
    assert seeds.fastest(ways, found[2:3]) == seeds.fastest(ways, []) == "patches"
    assert convolutions.estimated_speed(found, "in place", 5) == 900.0
    assert convolutions.estimated_speed(found, "in place", 1) == pytest.approx(100 / 3)
    assert convolutions.estimated_speed(found, "XLA's own", 3) is None
    assert {way.network for way in ways.named.values()} <= {*classifying.NETWORKS}


@pytest.mark.parametrize(
    ("speed", "again", "left", "expected"),
    [
        (200_000, 0, range(6), Part(0, 3)),  # 286 s for 44.55 million examples
        (100_000, 0, range(6), None),  # 542 s, and 582 s for fewer, not compiled yet
        (100_000, 200, range(6), Part(0, 3)),
        (160_000, 0, [4, 5], Part(4, 2)),  # 390 s: their steps take as long as 3's
        (150_000, 0, [4, 5], None),  # 411 s
        (200_000, 0, [1, 2, 4, 5], Part(1, 2)),  # seeds of a part follow each other
        (200_000, 0, [1, 3, 4, 5], Part(1, 1)),
        (200_000, 0, [3, 4, 5], Part(3, 3)),
        (1_000, 0, range(6), None),
    ],
)
def test_a_part_has_as_many_seeds_as_end_in_time(speed, again, left, expected):
    at, found = time.monotonic() + 400, [timed("in place", 3, speed)]
    name = one_gpu.POOLED_30.name
    call = seeds.Call(None, "", None, seeds.Ways(again=again), name, at)
    chosen = seeds.fresh(one_gpu.POOLED_30, call, found, list(left))
    way = "resnet18, convolutions in place"
    assert chosen == (expected and (expected, way))


def test_what_does_not_fit_makes_room_for_what_follows(tmp_path, capsys):
    """The 200 epochs at 100,000 examples a second do not fit a call of ten minutes."""
    row = timed("in place", 3, 100_000.0)
    measurements.add(tmp_path / convolutions.FILE, row)
    measurements.add(tmp_path / convolutions.FILE, row | {"experiment": "faster"})
    where = tmp_path, "", None, seeds.Ways(), row["experiment"]
    call = seeds.Call(*where, time.monotonic() + 600)
    assert seeds.train_all(one_gpu.POOLED_200, call)
    assert capsys.readouterr().out == (
        "paper-cifar10-width-16-200-epochs: left out, 32 minutes a part\n"
    )
    assert not (tmp_path / one_gpu.POOLED_200.name).exists()


def test_every_network_is_timed_on_one_experiment():
    plan = plans.Plan(None, None)
    timed = [plans.timed_on(plan, each) for each in plan.pooled]
    wide = one_gpu.POOLED_FULL_WIDTH
    assert timed == [(one_gpu.POOLED_30, 3), (one_gpu.POOLED_30, 3), (wide, 2)]


def test_seeds_that_are_committed_are_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "COMMITTED", tmp_path / "committed")
    own = tmp_path / "plan" / one_gpu.POOLED_30.name
    for folder, name in (
        (tmp_path / "committed" / one_gpu.POOLED_30.name, "seeds-0-2"),
        (own, "seeds-4-4"),
    ):
        files.write_text(folder / name / "meta.json", "{}")
    (own / "seeds-3-3").mkdir()  # begun, not finished
    assert seeds.unseen(one_gpu.POOLED_30, own) == [3, 5]


def test_what_a_gpu_gets_wrong_does_not_train(monkeypatch):
    """Right patches are within rounding; a row of the kernel of another size is not."""

    def wrong(images, kernel, stride):
        return models.convolve_by_patches(images, kernel.at[0].mul(1.5), stride)

    assert convolutions.shapes(16) == [
        (32, 16, 16, 1),
        *((32, 16, 32, 2), (16, 32, 32, 1)),
        *((16, 32, 64, 2), (8, 64, 64, 1)),
        *((8, 64, 128, 2), (4, 128, 128, 1)),
    ]
    monkeypatch.setattr(convolutions, "shapes", lambda width: [(4, 2, 2, 2)])
    assert (
        convolutions.error(models.convolve_by_patches, 2) < convolutions.LARGEST_ERROR
    )
    assert convolutions.error(wrong, 2) > convolutions.LARGEST_ERROR


def test_an_archive_knows_its_commit(monkeypatch):
    assert origin._archived_commit() is None  # in a checkout
    commit = "0123456789" * 4
    monkeypatch.setattr(origin.Path, "read_text", lambda *_, **__: f"{commit}\n")
    assert origin.environment()["git_commit"] == commit


def test_primary_contrasts_are_among_all():
    for experiment in one_gpu.POOLED:
        assert set(experiment.primary) <= set(experiment.contrasts)
        assert not set(experiment.optimizers) & {"muon", "sam", "clipping"}


@pytest.mark.slow  # starts processes
def test_the_tests_of_the_library_are_counted(tmp_path):
    """Once; and a test that fails is named."""
    tests = tmp_path / "test_three.py"
    tests.write_text(
        "import pytest\n"
        "def test_right(): pass\n"
        "@pytest.mark.parametrize('x', [1])\n"
        "def test_wrong(x): assert x == 2\n"
        "@pytest.mark.skip(reason='of no use here')\n"
        "def test_skipped(): pass\n"
        "@pytest.mark.slow\n"
        "def test_slow(): assert False\n"
    )
    for _ in range(2):
        assert library_tests.run(tmp_path, tests, Deadline())
    (row,) = measurements.read(tmp_path / library_tests.FILE)
    assert (row["passed"], row["failed"], row["skipped"]) == ("1", "1", "1")
    assert row["names"].endswith("test_three.test_wrong[1]")
    assert "| passed | failed | skipped |" in measurements.table([row], table.TESTS)


def test_the_tests_of_the_library_wait_for_their_time(tmp_path):
    assert not library_tests.run(tmp_path, tmp_path, Deadline(time.monotonic() + 9))
    assert not list(tmp_path.iterdir())


def test_without_tests_or_pytest_the_plan_goes_on(tmp_path, monkeypatch, capsys):
    assert library_tests.run(tmp_path, tmp_path / "absent", Deadline())
    assert "did not run: " in capsys.readouterr().out
    monkeypatch.setattr(library_tests, "NEEDED", ("pytest", "no_such_package"))
    assert library_tests.run(tmp_path, tmp_path, Deadline())
    told = "The library's tests did not run: no no_such_package is installed.\n"
    assert capsys.readouterr().out == told
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # starts processes
def test_a_pytest_that_does_not_start_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(library_tests, "OPTIONS", ("--no-such-option",))
    tests = tmp_path / "test_none.py"
    tests.touch()
    assert library_tests.run(tmp_path, tests, Deadline())
    assert "did not run: pytest ended with 4." in capsys.readouterr().out


@pytest.mark.slow  # starts processes
def test_tests_of_the_library_that_were_stopped_are_not_counted(tmp_path, monkeypatch):
    """Neither at the deadline nor by an interrupt: the next call runs them again."""
    tests = tmp_path / "test_one.py"
    tests.write_text("def test_long():\n    import time\n    time.sleep(60)\n")
    soon = Deadline(time.monotonic() + 4, {"library tests": 0.0})
    assert not library_tests.run(tmp_path, tests, soon)
    tests.write_text("def test_interrupted():\n    raise KeyboardInterrupt\n")
    assert not library_tests.run(tmp_path, tests, Deadline())
    assert not measurements.read(tmp_path / library_tests.FILE)
