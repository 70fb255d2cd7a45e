"""What TensorBoard shows while an experiment runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tensorboardX import SummaryWriter

FOLDER = "tensorboard"
SPLITS = ("train", "validation")


@contextmanager
def writers(
    folder: Path, condition: str, labels: list[str], epoch: int
) -> Iterator[dict[str, SummaryWriter]]:
    """A writer each label, going on after `epoch`; a run of TensorBoard each."""
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


def log(opened: dict[str, SummaryWriter], rows: pd.DataFrame) -> None:
    """Means over the seeds against the epoch: a chart each learning rate and measure.

    A curve ends where a seed's diverges. Of clipping, means over the thresholds too.
    """
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
