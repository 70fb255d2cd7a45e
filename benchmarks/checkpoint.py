"""Where a run stands, on disk: it goes on from there after a kill at any moment.

A checkpoint is a folder `checkpoints/PROGRAM-EPOCH-STEP`, named by what comes next.
Orbax writes it under another name and renames it when it is whole; a half-written one
is not seen. Beside it `run.json` says which experiment it belongs to, and a file
`PROGRAM.json` holds the rows of each program so far.
"""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
import pandas as pd

from benchmarks import results

FOLDER, RUN = "checkpoints", "run.json"


class Position(NamedTuple):
    """What is to be run next: a step of an epoch of a program, all counted from 0."""

    program: int
    epoch: int
    step: int = 0


def start(folder: Path, configuration: dict[str, Any]) -> None:
    """Say what the run is.

    Raises:
      ValueError: the folder holds an unfinished run.
    """
    if (folder / FOLDER / RUN).is_file():
        raise ValueError(
            f"{folder} holds an unfinished run: go on with it by --resume, give "
            f"another --out, or delete {folder / FOLDER}."
        )
    finish(folder)
    results.write_text(folder / FOLDER / RUN, json.dumps(configuration, indent=2))


def position(folder: Path, configuration: dict[str, Any]) -> Position | None:
    """Where to go on; None if the run is finished.

    Raises:
      FileNotFoundError: there is no run to go on with.
      ValueError: the run in the folder is another one; says where they differ.
    """
    path = folder / FOLDER / RUN
    finished = not path.is_file()
    if finished:
        path = folder / results.META
    if not path.is_file():
        raise FileNotFoundError(f"No run in {folder}. Start it without --resume.")
    found = json.loads(path.read_text(encoding="utf-8"))
    changed = differences(found, json.loads(json.dumps(configuration)))
    if changed:
        raise ValueError(
            f"The run in {folder} is another one:\n"
            + "\n".join(changed)
            + "\nGo on with what made it, or start another with another --out."
        )
    if finished:
        return None
    return reached(folder)


def reached(folder: Path) -> Position:
    """Where an unfinished run goes on."""
    done = sum(part["finished"] for part in parts(folder))
    return max([*saved(folder), Position(done, 0)])


def begun(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The meta data of measurements begun in a folder; None where there are none.

    Raises:
      ValueError: they were begun otherwise than `wanted`; numbers of two machines, or
        of two sets of versions, are not compared.
    """
    path = folder / results.META
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if changed := differences(found, wanted):
        raise ValueError(
            f"What {folder} holds was begun otherwise:\n"
            + "\n".join(changed)
            + "\nGo on where it was begun, or give another --out."
        )
    return found


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """A line each entry of nested dictionaries that differs."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [f"  {name}: {found} there, {wanted} here"]
    return [
        line
        for key, value in wanted.items()
        for line in differences(found.get(key), value, f"{name}.{key}".lstrip("."))
    ]


def saved(folder: Path) -> list[Position]:
    """The whole checkpoints, in no order."""
    names = (path.name for path in (folder / FOLDER).glob("*-*-*"))
    matches = (re.fullmatch(r"(\d+)-(\d+)-(\d+)", name) for name in names)
    return [Position(*map(int, m.groups())) for m in matches if m]


def save(folder: Path, position: Position, lanes: Any) -> None:
    """Save the lanes, whole or not at all; then remove the older checkpoints."""
    older = saved(folder)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path_of(folder, position), lanes, force=True)
    for other in older:
        if other != position:
            shutil.rmtree(path_of(folder, other), ignore_errors=True)


def load(folder: Path, position: Position, like: Any) -> Any:
    """The lanes saved at a position; `like` gives structure, shapes and dtypes."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(
            path_of(folder, position),
            jax.tree.map(ocp.utils.to_shape_dtype_struct, like),
        )


def save_part(
    folder: Path,
    program: int,
    rows: pd.DataFrame,
    seconds: dict[str, float],
    *,
    finished: bool,
) -> None:
    """Keep the rows that a program has so far, and what it took."""
    csv = rows.to_csv(index=False, lineterminator="\n")
    part = {"finished": finished, "seconds": seconds, "rows": csv}
    results.write_text(folder / FOLDER / f"{program}.json", json.dumps(part))


def load_part(
    folder: Path, position: Position
) -> tuple[list[pd.DataFrame], dict[str, float]]:
    """The rows of the program up to a position, and what it took so far."""
    kept = parts(folder)[position.program :]
    if not kept:
        return [], {"compile": 0.0, "run": 0.0}
    rows = pd.read_csv(io.StringIO(kept[0]["rows"]))
    rows = rows[rows.epoch <= position.epoch]
    return [rows] if len(rows) else [], kept[0]["seconds"]


def parts(folder: Path) -> list[dict[str, Any]]:
    """What is kept of the programs that were begun, in their order."""
    kept: list[dict[str, Any]] = []
    while (path := folder / FOLDER / f"{len(kept)}.json").is_file():
        kept.append(json.loads(path.read_text(encoding="utf-8")))
    return kept


def rows(folder: Path) -> str:
    """The rows of all the programs so far, as CSV with one header."""
    first, *others = (part["rows"] for part in parts(folder))
    return first + "".join(csv.split("\n", 1)[1] for csv in others)


def seconds(folder: Path) -> dict[str, float]:
    """Seconds to compile and to run all the programs."""
    kept = [part["seconds"] for part in parts(folder)]
    return {key: round(sum(x[key] for x in kept), 1) for key in ("compile", "run")}


def finish(folder: Path) -> None:
    """A finished run needs no checkpoint; without run.json nothing goes on from one."""
    (folder / FOLDER / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def path_of(folder: Path, position: Position) -> Path:
    return (folder / FOLDER / "-".join(map(str, position))).absolute()
