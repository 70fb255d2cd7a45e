"""Which report a run has whose first seeds choose what the others test."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.report import continual, fronts, plasticity, trials


class Report(NamedTuple):
    """Say how a run is reported.

    Attributes:
      draw: writes table and figures to a folder from metrics and meta data; returns
        the table.
      shown_trials: from the rows of the tuning seeds, the meta data and an optimizer's
        name to the trials of it that the other seeds have to make.
      pruned: from the rows so far and the meta data to the rows that are kept.
    """

    draw: Callable[..., str]
    shown_trials: Callable[..., tuple[int, ...]]
    pruned: Callable[..., pd.DataFrame] = lambda metrics, meta: metrics


def report_of(meta: dict[str, Any]) -> Report | None:
    """Return the report of a run with tuning seeds; None where it has none."""
    e = meta["experiment"]
    if not e.get("tuning_seeds"):
        return None
    if plasticity.is_of(meta):
        return Report(plasticity.draw, trials.shown_trials)
    if "tasks" in e:
        return Report(continual.draw, fronts.shown_trials, fronts.pruned)
    return Report(trials.draw, trials.shown_trials)
