"""The notes under the tables of a run: how to read them, and where they come from."""

from typing import Any

import pandas as pd

from benchmarks.records.score import Score, count, words
from benchmarks.report import statistics


def tuned(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Define the numbers of tables whose learning rates were tuned."""
    e = meta["experiment"]
    last = statistics.final(metrics)
    score, wording = Score(**meta["score"]), meta["wording"]
    title = score.title
    best, worse = ("highest", "below") if score.higher else ("lowest", "above")
    pairs = {*meta["baselines"].items(), *map(tuple, e["contrasts"])}
    comparisons = (len(pairs) - 1) * len(statistics.conditions(meta))
    trials = len(e["learning_rates"])
    return f"""\
{size(meta)} {trials} trials of each optimizer.

- Best rate: the learning rate of the {best} mean validation {title} (of equals, the
  lowest). The test {wording["items"]} are used once, at that rate.
- +-: half of the {statistics.CONFIDENCE:.0%} interval (Student's t) over seeds \
(initialisation, data order).
  It leaves out the sampling error of the one test set{wording["sampling_error"]}.
- equal: no significant difference. The {statistics.CONFIDENCE:.0%} interval \
(Student's t) of the difference
  to the base, paired by seed, contains 0. Of the {comparisons} comparisons made here \
one in twenty
  is significant by chance; {e["seeds"]} seeds that agree by chance look certain.
- Usable rates: the contiguous range around the best in which mean validation {title}
  stays within {score.tolerance} of the best, interpolated linearly in \
log10(learning rate)
  between the points of the grid; <= and >= mark a range cut off by the grid. The
  standard error behind the interval of its decades is of a bootstrap over seeds.
- Fails from: the lowest learning rate above the best at which a seed's loss became NaN
  or infinite (diverged: {int(last.diverged.sum())} of {len(last)} runs) or its \
validation {title} ended
  {worse} {score.failed}. {wording["failures"]}"""


def fixed(metrics: pd.DataFrame, meta: dict[str, Any]) -> str:
    """Define the numbers of tables with one learning rate for each method."""
    diverged = int(statistics.final(metrics).diverged.sum())
    return f"""\
{size(meta)} One learning rate each: nothing is chosen, and the
test {words(meta["score"]["name"])} is taken at every evaluation.

- +-: half of the {statistics.CONFIDENCE:.0%} interval (Student's t) over seeds \
(initialisation, data order).
- equal: no significant difference. The {statistics.CONFIDENCE:.0%} interval \
(Student's t) of the difference
  to the base, paired by seed, contains 0.
- Diverged (a loss was NaN or infinite): {diverged} of {meta["lanes"]} runs."""


def size(meta: dict[str, Any]) -> str:
    """Name the data, the epochs, the seeds and the setting of a run."""
    e, wording = meta["experiment"], meta["wording"]
    idle = ", of which the first trains nothing" if e.get("idle_epochs") else ""
    train = f"{e['train']} train {wording['items']}, " if e["train"] else ""
    return (
        f"{meta['data_source']}, {train}{count(e['epochs'], 'epoch')}{idle}, "
        f"{e['seeds']} seeds; " + wording["setting"]
    )


def origin(meta: dict[str, Any]) -> str:
    """Name the command, device, time and versions; of a pooled run, a line a part."""
    if parts := meta.get("parts"):
        return "\n".join(["Parts:", "", *map(part_origin, parts)])
    device, versions, seconds = meta["device"], meta["versions"], meta["seconds"]
    return f"""\
`{meta["command"]}` ({meta["lanes"]} runs) on \
{device["platform"]}, {device["cores"]} cores: {seconds["compile"]} s to compile, \
{seconds["run"]} s to run; Python {versions["python"]}, jax {versions["jax"]}, \
flax {versions["flax"]}, optax {versions["optax"]}, \
prox_optax {versions["prox_optax"]}."""


def part_origin(part: dict[str, Any]) -> str:
    """Say when, where and how some seeds of a pooled experiment were trained."""
    first, versions, seconds = part["first_seed"], part["versions"], part["seconds"]
    last = first + part["seeds"] - 1
    which = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return (
        f"- {which}: {part['date']}, "
        f"{part['device']['kind']}, commit {str(part['git_commit'])[:12]}, "
        f"{part['network']}, {seconds['compile']} s to compile, {seconds['run']} s "
        f"to run; jax {versions['jax']}, flax {versions['flax']}, "
        f"optax {versions['optax']}"
    )
