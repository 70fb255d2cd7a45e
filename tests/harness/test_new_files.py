"""A new data set is one file, a new task two: no other file has to know of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import data, experiments, optimizers
from benchmarks.data import image_set

ROOT = Path(__file__).parents[2]

BARS = '''\
"""Images with a bright row or a bright column."""

import numpy as np

from benchmarks.data.spec import ImageSpec, RawImages, RawSet

SPEC = ImageSpec("bars", (8, 8, 1), 2, train=100, test=20, get="They are drawn.")


def drawn(size):
    images = np.random.default_rng(size).integers(99, size=(size, 8, 8, 1))
    images[::2, 3], images[1::2, :, 3] = 255, 255
    return RawImages(images.astype(np.uint8), np.arange(size) % 2)


def read(data_dir):
    return RawSet(drawn(100), drawn(20), "bars, drawn")
'''

BARS_EXPERIMENT = '''\
"""Bars: an experiment on a new data set."""

from dataclasses import replace

from benchmarks.experiments.classify import DEMO, DIGITS
from benchmarks.experiments.experiment import tiny

PROBLEM = replace(DIGITS, data="bars", validation=20, test=None)
BARS = replace(tiny(DEMO), problem=PROBLEM, groups=(("", ("sgd", "trsgd")),))
EXPERIMENTS = (replace(BARS, name="bars"),)
'''

LINE = '''\
"""A line through points."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.records.score import Score, Wording
from benchmarks.training.task import Task, shuffled


class PointSet(NamedTuple):
    train: jax.Array
    validation: jax.Array
    test: jax.Array
    source: str


def error(line, points):
    return jnp.mean((line["slope"] * points[:, 0] + line["height"] - points[:, 1]) ** 2)


@dataclass(frozen=True)
class Line:
    slope: float
    data: str = "points"
    train: None = None

    measures: ClassVar = ("error",)
    score: ClassVar = Score(
        name="error",
        labels={"error": "squared error"},
        higher=False,
        tolerance=0.1,
        failed=9.0,
        axis=(0.0, 9.0),
        zoom=0.5,
    )

    def load(self, data_dir):
        x = jax.random.normal(jax.random.key(0), (3, 64))
        return PointSet(*jnp.stack([x, self.slope * x], axis=-1), "points, drawn")

    def examples(self, data_set):
        return len(data_set.train)

    def task(self, data_set, batch_size):
        def init(key):
            slope, height = jax.random.normal(key, (2,))
            return {"line": {"slope": slope, "height": height}}, ()

        def loss(params, stats, points, index, key):
            value = error(params["line"], points[index])
            return value, (stats, {"error": value})

        def evaluate(params, stats, points):
            return {"error": error(params["line"], points)}

        batches = shuffled(self.examples(data_set), batch_size)
        return Task(init, batches, {"line": loss}, evaluate, self.measures)

    def references(self, data_set):
        zero = {"slope": 0.0, "height": 0.0}
        return {"always 0": {"error": float(error(zero, data_set.test))}}

    def wording(self):
        return Wording(
            items="points",
            setting="64 points for validation, 64 for test.",
            sampling_error="",
            failures="",
            near="0.1",
            zoomed="the best 0.5",
        )

    def tiny(self):
        return self
'''

LINE_EXPERIMENT = '''\
"""Lines: an experiment on a new task."""

from dataclasses import replace

from benchmarks.experiments.classify import DEMO
from benchmarks.experiments.experiment import tiny
from benchmarks.tasks.line import Line

ONE = replace(tiny(DEMO), problem=Line(slope=2.0), groups=(("", ("sgd", "trsgd")),))
EXPERIMENTS = (replace(ONE, name="line", learning_rates=(1e-6, 0.1)),)
'''

NEW = {
    "data/bars.py": BARS,
    "experiments/bars.py": BARS_EXPERIMENT,
    "tasks/line.py": LINE,
    "experiments/line.py": LINE_EXPERIMENT,
}


def test_a_data_set_is_found_by_the_name_of_its_file(tmp_path, monkeypatch):
    (tmp_path / "two_bars.py").write_text(BARS)
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    found = image_set.load("two-bars", None, validation=20, seed=0)
    sizes = [len(split.labels) for split in (found.train, found.validation, found.test)]
    assert sizes == [80, 20, 20]
    written = np.random.default_rng(20).integers(99, size=(20, 8, 8, 1))
    written[::2, 3], written[1::2, :, 3] = 255, 255
    np.testing.assert_array_equal(found.test.images, written)
    assert (found.classes, found.source) == (2, "bars, drawn")
    with pytest.raises(ValueError, match=r"there is: .*fashion-mnist, two-bars"):
        image_set.load("three-bars", None, validation=20, seed=0)


def test_a_data_set_that_is_not_what_its_file_says(tmp_path, monkeypatch):
    (tmp_path / "many_bars.py").write_text(BARS.replace("train=100", "train=101"))
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    match = r"bars: images of shape \(100, 8, 8, 1\), expected \(101,.* They are drawn"
    with pytest.raises(ValueError, match=match):
        image_set.load("many-bars", None, validation=20, seed=0)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Return a folder with a copy of the benchmarks and the new files in it."""
    folder = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=ignored)
    for name, content in NEW.items():
        path = folder / "benchmarks" / name
        assert not path.exists()
        path.write_text(content)
    return folder


def command(house, *arguments):
    environment = os.environ | {"PYTHONPATH": f"{house}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "measure", "source"),
    [("bars", "accuracy", "bars, drawn"), ("line", "error", "points, drawn")],
)
def test_new_files_are_run_and_reported(name, measure, source, house):
    """The oracle of the report is that of the run."""
    command(house, "run", name, "--out", "out")
    out = house / "out"
    rows = pd.read_csv(out / "metrics.csv")
    assert len(rows) == 2 * 2 * 2  # optimizers, learning rates, seeds
    assert np.isfinite(rows[f"validation_{measure}"]).all()
    assert json.loads((out / "meta.json").read_text())["data_source"] == source
    table = (out / "table.md").read_bytes()
    (out / "table.md").unlink()
    assert f"validation {measure}" in command(house, "report", name, "--out", "out")
    assert (out / "table.md").read_bytes() == table
    shutil.rmtree(out)


@pytest.mark.parametrize(
    ("package", "line", "match"),
    [
        (optimizers, "OPTIMIZERS = {'muon': None}", "there is an optimizer 'muon'"),
        (
            experiments,
            "from benchmarks.experiments.classify import DEMO\nEXPERIMENTS = (DEMO,)",
            "there is an experiment 'demo'",
        ),
    ],
    ids=["optimizer", "experiment"],
)
def test_a_name_that_is_there_is_refused(tmp_path, monkeypatch, package, line, match):
    (tmp_path / "zzz.py").write_text(f"{line}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    source = Path(package.__file__).read_text()
    names = {"__name__": package.__name__, "__path__": package.__path__}
    with pytest.raises(ValueError, match=rf"{package.__name__}\.zzz: {match}"):
        exec(source, names)
    monkeypatch.delitem(sys.modules, f"{package.__name__}.zzz")
