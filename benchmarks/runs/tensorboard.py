"""Event files for TensorBoard while an experiment runs; none without tensorboardX."""

import contextlib
import importlib.util
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.records import files

FOLDER = "tensorboard"
SPLITS = ("train", "validation")
IS_THERE = importlib.util.find_spec("tensorboardX") is not None


def announce(folder: Path) -> str:
    """Say how to watch a run, or why it cannot be watched."""
    if IS_THERE:
        return f"To watch: tensorboard --logdir {folder / FOLDER}"
    return "Nothing for TensorBoard to show: tensorboardX is not installed."


class Writer:
    """An event file, written in this thread so that the disk's errors are raised."""

    def __init__(self, folder: Path, first: int):
        """Begin a file whose epochs from `first` on replace those of earlier files."""
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / f"events.out.tfevents.{name}"
        self.file = RecordWriter(str(self.path))
        self.write(file_version="brain.Event:2")
        self.write(step=first, session_log=SessionLog(status=SessionLog.START))

    def add_scalar(self, tag: str, value: float, epoch: int) -> None:
        """Add a point to a curve."""
        from tensorboardX.summary import scalar

        self.write(step=epoch, summary=scalar(tag, value))

    def write(self, **content: Any) -> None:
        """Write an event with the fields of `content`."""
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), **content)
        self.file.write(event.SerializeToString())

    def flush(self) -> None:
        """Give the events to the disk; an error names the file."""
        try:
            self.file.flush()
        except OSError as error:
            raise files.named(error, self.path) from error

    def close(self) -> None:
        """Close the file; `flush` has raised what could not be written."""
        with contextlib.suppress(OSError):
            self.file.close()


@contextmanager
def writers(
    folder: Path, condition: Path, labels: list[str], epoch: int
) -> Iterator[dict[str, Any]]:
    """Open a writer for each label, whose curves go on after `epoch`."""
    opened: dict[str, Any] = {}
    try:
        for label in labels if IS_THERE else ():
            where = folder / FOLDER / condition / label
            opened[label] = Writer(where, epoch + 1)
        yield opened
    finally:
        for writer in opened.values():
            writer.close()


def log(opened: dict[str, Any], rows: pd.DataFrame) -> None:
    """Add means over the seeds: a chart for each learning rate and measure.

    A curve ends where a seed diverges. For an optimizer with numbers of its own, the
    means are over all their values at that learning rate. Both are those of a program.
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
    for writer in opened.values():
        writer.flush()
