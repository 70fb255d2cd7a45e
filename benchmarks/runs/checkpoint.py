"""Checkpoints: from the last one a run goes on after a kill at any moment.

A checkpoint is a folder `checkpoints/PROGRAM-EPOCH-STEP`, named by what comes next. It
holds the rows so far, the lanes as Orbax writes them, and a manifest of both. It is
written under another name, and renamed when it is whole and on the disk. The last two
are kept. Beside them `run.json` says which experiment they belong to.

Orbax's CheckpointManager does not do this: it renames before the disk has the files,
restores a file that was changed, and takes or deletes the folders of others.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.records import files, run_files
from benchmarks.records.files import MANIFEST, DamagedError
from benchmarks.runs import arrays, folders

FOLDER, RUN = "checkpoints", "run.json"
LANES, ROWS = "lanes", "rows.csv"
KIND = {"checkpoints": "with manifests"}  # a run with other ones is refused
NAME = r"(\d+)-(\d+)-(\d+)"


class Position(NamedTuple):
    """The step that comes next, with its epoch and program; all count from 0."""

    program: int
    epoch: int
    step: int = 0

    def __str__(self) -> str:
        return "-".join(map(str, self))


class State(NamedTuple):
    """What a checkpoint holds besides the lanes.

    Attributes:
      position: what comes next.
      rows: metrics.csv so far; empty at the very start.
      seconds: that it took to compile and to run all until then.
      commits: of the code that made the rows, in their order.
    """

    position: Position
    rows: str
    seconds: dict[str, float]
    commits: tuple[str | None, ...] = ()


def is_unfinished(folder: Path) -> bool:
    """Say whether a folder holds a run to go on with."""
    return os.path.isfile(folder / FOLDER / RUN)  # false for a name that is too long


def refuse_unfinished(folder: Path) -> None:
    """Raise ValueError if a folder holds an unfinished run."""
    if is_unfinished(folder):
        raise ValueError(
            f"{folder} holds an unfinished run: go on with it by --resume, give "
            f"another --out, or delete {folder / FOLDER}."
        )


def start(folder: Path, configuration: dict[str, Any]) -> None:
    """Write what the run is, into a folder without an unfinished run."""
    finish(folder)
    text = json.dumps(configuration | KIND, indent=2)
    files.write_text(folder / FOLDER / RUN, text)


def position(folder: Path, configuration: dict[str, Any]) -> Position | None:
    """Return where to go on with a run, or None if it is finished.

    Raises:
      FileNotFoundError: there is no run to go on with.
      ValueError: the run in the folder is another one, or a file of it is damaged; says
        where the two differ, or how to go on without the file.
    """
    if is_unfinished(folder):
        compare(folder, folder / FOLDER / RUN, configuration | KIND)
        return state(folder).position
    if saved(folder) and not (folder / run_files.META).is_file():
        raise DamagedError(
            f"There is no {folder / FOLDER / RUN}, which says what the checkpoints "
            f"are of: put it back, or delete {folder / FOLDER} and start anew."
        )
    if (folder / MANIFEST).is_file():
        files.check(folder, run_files.METRICS, run_files.META)
    if not (folder / run_files.META).is_file():
        raise FileNotFoundError(f"No run in {folder}. Start it without --resume.")
    compare(folder, folder / run_files.META, configuration)
    return None


def compare(folder: Path, path: Path, configuration: dict[str, Any]) -> None:
    """Raise ValueError unless a file describes the same run; name the differences."""
    changed = differences(files.read_json(path), json.loads(json.dumps(configuration)))
    if changed:
        raise ValueError(
            f"The run in {folder} is another one:\n"
            + "\n".join(changed)
            + "\nGo on with what made it, or start another with another --out."
        )


def reached(folder: Path) -> Position:
    """Return the position of the last checkpoint; the very start if there is none."""
    return max([*saved(folder), Position(0, 0)])


def state(folder: Path) -> State:
    """Read the last checkpoint, without the lanes.

    Raises:
      DamagedError: one of its files is not what was written; says how to go on.
    """
    last = reached(folder)
    if last not in saved(folder):
        return State(last, "", {"compile": 0.0, "run": 0.0})
    path = path_of(folder, last)
    with files.telling(way_out(folder, last)):
        about = files.check(path)
        if about["position"] != [*last]:
            wanted = Position(*about["position"])
            raise DamagedError(
                f"{path} is the checkpoint {wanted}, under another name."
            )
        if about["run"] != files.sha256(folder / FOLDER / RUN):
            raise DamagedError(
                f"{folder / FOLDER / RUN} is not the one that {path} was saved under."
            )
        commits = tuple(about.get("commits", ()))  # earlier checkpoints have none
        return State(last, files.read_text(path / ROWS), about["seconds"], commits)


def way_out(folder: Path, last: Position) -> str:
    """Say how to go on without the last checkpoint."""
    anew = f"Delete {folder / FOLDER} to start anew"
    if not (before := [each for each in saved(folder) if each < last]):
        return f"{anew}, without --resume."
    return (
        f"Delete {path_of(folder, last)} to go on by --resume from the checkpoint "
        f"before it, {max(before)}. {anew}."
    )


def begun_meta(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the meta data of measurements in a folder, or None if there are none.

    Raises:
      ValueError: they differ from `wanted`: numbers of two machines, or of two sets of
        versions, are not compared.
    """
    path = folder / run_files.META
    if not path.is_file():
        return None
    found = files.read_json(path)
    if changed := differences(found, wanted):
        raise ValueError(
            f"What {folder} holds was begun otherwise:\n"
            + "\n".join(changed)
            + "\nGo on where it was begun, or give another --out."
        )
    return found


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Write a line for each entry of nested dictionaries that differs.

    What is only found may be of no interest; of an experiment it is a field that has
    another value than the usual one, which is left out.
    """
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [f"  {name}: {found} there, {wanted} here"]
    return [
        line
        for key in (wanted | found if name == "experiment" else wanted)
        for line in differences(
            found.get(key), wanted.get(key), f"{name}.{key}".lstrip(".")
        )
    ]


def saved(folder: Path) -> list[Position]:
    """Return the positions of the whole checkpoints, in their order."""
    names = (path.name for path in (folder / FOLDER).glob("*-*-*"))
    matches = (re.fullmatch(NAME, name) for name in names)
    return sorted(Position(*map(int, m.groups())) for m in matches if m)


def save(folder: Path, state: State, lanes: Any = None) -> None:
    """Write a checkpoint, whole or not at all, and keep the one before it.

    Raises:
      OSError: it could not be written; names the checkpoint.
    """
    older = saved(folder)
    if state.position in older:
        return  # the run has not moved since it was resumed

    def fill(unfinished: Path) -> None:
        unfinished.mkdir()
        if lanes is not None:
            arrays.save(unfinished / LANES, lanes)
        (unfinished / ROWS).write_bytes(state.rows.encode())

    folders.write(
        path_of(folder, state.position),
        fill,
        position=state.position,
        run=files.sha256(folder / FOLDER / RUN),
        seconds=state.seconds,
        commits=state.commits,
    )
    for other in older[:-1]:
        discard(path_of(folder, other))


def load(folder: Path, position: Position, like: Any) -> Any:
    """Read the lanes at a position; `like` gives structure, shapes and dtypes."""
    return arrays.load(path_of(folder, position) / LANES, like)


def seconds(folder: Path) -> dict[str, float]:
    """Return the seconds that a run has taken so far, to compile and to run."""
    return {key: round(x, 1) for key, x in state(folder).seconds.items()}


def is_own(path: Path) -> bool:
    """Say whether a folder `checkpoints` is a run's: empty, or as a run writes it."""
    if not path.is_dir():
        return False
    if (path / RUN).exists():
        return folders.holds(path / RUN, *KIND) or folders.holds(
            path / RUN, "experiment", "versions"
        )
    unfinished = rf"\.\d+-({NAME}|{re.escape(RUN)})"
    return all(
        is_checkpoint(each) or re.fullmatch(unfinished, each.name)
        for each in path.iterdir()
    )


def is_checkpoint(path: Path) -> bool:
    """Say whether a run wrote a folder, or emptied it before it was killed."""
    if not (re.fullmatch(NAME, path.name) and path.is_dir()):
        return False
    return folders.OWN[MANIFEST](path / MANIFEST) or not any(path.iterdir())


def finish(folder: Path) -> None:
    """Remove the checkpoints of a finished run, run.json first; keep what is not ours.

    Without run.json no run goes on from what a kill leaves of them.
    """
    (folder / FOLDER / RUN).unlink(missing_ok=True)
    for each in saved(folder):
        discard(path_of(folder, each))
    folders.clear(folder / FOLDER, NAME, re.escape(RUN))
    with contextlib.suppress(OSError):
        (folder / FOLDER).rmdir()


def discard(path: Path) -> None:
    """Remove a checkpoint; without a manifest, only if it is empty."""
    try:
        files.discard(path)
    except DamagedError:
        with contextlib.suppress(OSError):
            path.rmdir()


def path_of(folder: Path, position: Position) -> Path:
    return folder / FOLDER / str(position)
