"""What TensorBoard shows while an experiment runs; nothing without tensorboardX."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FOLDER = "tensorboard"
SPLITS = ("train", "validation")
IS_THERE = importlib.util.find_spec("tensorboardX") is not None


def announce(folder: Path) -> str:
    """How to watch."""
    if IS_THERE:
        return f"To watch: tensorboard --logdir {folder / FOLDER}"
    return "Nothing for TensorBoard to show: tensorboardX is not installed."


@contextmanager
def writers(
    folder: Path, condition: str, labels: list[str], epoch: int
) -> Iterator[dict[str, Any]]:
    """A writer each label, going on after `epoch`; a run of TensorBoard each."""
    if not IS_THERE:
        yield {}
        return
    from tensorboardX import SummaryWriter

    opened = {
        label: SummaryWriter(
            str(folder / FOLDER / condition / label), purge_step=epoch + 1
        )
        for label in labels
    }
    try:
        yield opened
    finally:
        for writer in opened.values():
            writer.close()


def log(opened: dict[str, Any], rows: pd.DataFrame) -> None:
    """Means over the seeds against the epoch: a chart each learning rate and measure.

    A curve ends where a seed's diverges. Of clipping, means over the thresholds too.
    """
    if not opened:
        return
    shown = [column for column in rows if column.split("_", 1)[0] in SPLITS]
    measured = [column for column in shown if rows[column].notna().any()]
    epoch = int(rows.epoch.iloc[0])
    for (label, rate), runs in rows.groupby(["optimizer", "learning_rate"]):
        for column in measured:
            mean = runs[column].to_numpy().mean()
            if np.isfinite(mean):
                split, measure = column.split("_", 1)
                tag = f"{measure}/{split}/rate {rate:g}"
                opened[label].add_scalar(tag, mean, epoch)
