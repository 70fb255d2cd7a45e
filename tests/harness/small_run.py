"""An experiment that compiles in a second: a command of it, for tests of faults.

`python tests/harness/small_run.py run small --out DIR` is the harness as it is, with
one experiment more. It draws samples, so that weights are kept.
"""

import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import experiments
from benchmarks.experiments import classify
from benchmarks.records import files
from benchmarks.records.score import Score, Wording
from benchmarks.tasks.problem import Request
from benchmarks.training.task import Task, shuffled

BATCH, SIZE = 8, 64


class Points(NamedTuple):
    """Splits of (n, 5): four coordinates and a value."""

    train: jax.Array
    validation: jax.Array
    test: jax.Array
    source: str


@dataclass(frozen=True)
class Line:
    """A line through points; `wait` seconds to read them."""

    wait: float = 0.0
    data: str = "points"
    train: None = None

    measures: ClassVar[tuple[str, ...]] = ("loss",)
    score: ClassVar[Score] = Score(
        "loss", {"loss": "square"}, False, 0.1, 9.0, (0.0, 3.0), 0.5
    )

    def load(self, data_dir: Path | None) -> Points:
        print("reading the data", flush=True)
        time.sleep(self.wait)
        drawn = np.random.default_rng(0).normal(size=(3, SIZE, 5))
        drawn[..., 4] = drawn[..., :4].sum(axis=-1)
        return Points(*jnp.asarray(drawn, jnp.float32), "drawn points")

    def examples(self, data_set: Points) -> int:
        return SIZE

    def task(self, data_set: Points, batch_size: int) -> Task:
        def squares(params: Any, points: jax.Array) -> jax.Array:
            inner = params["line"]
            guess = points[:, :4] @ inner["slope"] + inner["offset"]
            return ((guess - points[:, 4]) ** 2).mean()

        def loss(params: Any, stats: Any, data: Any, batch: Any, key: Any) -> Any:
            value = squares(params, data[batch])
            return value, (stats, {"loss": value})

        return Task(
            lambda key: (self.initial(key), ()),
            shuffled(SIZE, batch_size),
            {"line": loss},
            lambda params, stats, data: {"loss": squares(params, data)},
            self.measures,
        )

    def initial(self, key: jax.Array) -> dict[str, Any]:
        return {
            "line": {"slope": jax.random.normal(key, (4,)), "offset": jnp.zeros(())}
        }

    def references(self, data_set: Points) -> dict[str, dict[str, float]]:
        return {}

    def wording(self) -> Wording:
        return Wording("points", "drawn.", "", "None fails.", "0.1", "zoomed")

    def tiny(self) -> "Line":
        return self

    def abstract(self) -> Any:
        return jax.eval_shape(lambda: (self.initial(jax.random.key(0)), ()))

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        written = []
        for name, (params, _) in weights.items():
            path = request.folder / f"{name}.txt"
            text = " ".join(f"{x:.9g}" for x in np.asarray(params["line"]["slope"]))
            files.write_bytes(path, text.encode())
            written.append(path)
        return written


# Two programs of 3 epochs in 2 parts each; a checkpoint after every part.
SMALL = replace(
    experiments.tiny(classify.SENSITIVITY_DIGITS),
    name="small",
    problem=Line(),
    groups=(("", ("sgd", "trsgd")),),
    contrasts=(),
    learning_rates=(0.01, 0.1),
    batch_sizes=(BATCH,),
    epochs=3,
    evaluate_every=1,
    part=4,
    save_every=0.0,
)
LONG = replace(SMALL, name="long", epochs=400, save_every=0.05)


def kill_before(number: int, folder: str) -> None:
    """Kill this process before it does so much to the files of a folder."""
    left = [number]
    kinds = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in kinds and str(arguments[0]).startswith(folder):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    sys.argv[0] = "benchmarks"
    if moment := os.environ.get("SMALL_RUN_KILL"):
        number, folder = moment.split(" ", 1)
        kill_before(int(number), folder)
    waits = replace(SMALL, name="waits", problem=Line(wait=60.0))
    experiments.EXPERIMENTS |= {each.name: each for each in (SMALL, LONG, waits)}
    runpy.run_module("benchmarks", run_name="__main__")
