"""Files: written whole or not at all, and read back.

A manifest beside files says what was written: their sha256 and its own. It is written
last, and what does not fit it is refused.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "manifest.json"


class DamagedError(ValueError):
    """A file is missing, or does not hold what was written into it."""


@contextlib.contextmanager
def telling(way_out: str) -> Iterator[None]:
    """Add to what is wrong with a file how to go on without it."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}\n{way_out}") from error


def temporary(path: Path) -> Path:
    """Where this process writes what is to be put at a path in one step."""
    return path.with_name(f".{os.getpid()}-{path.name}")


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file, then put it in place in one step.

    A power cut leaves the old file or the new one: what is in a file is on the disk
    before its name is.

    Raises:
      OSError: names the path that could not be written.
    """
    unfinished = temporary(path)
    try:
        make(path.parent)
        save(unfinished)
        replace(unfinished, path)
    except OSError as error:
        raise named(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def make(folder: Path) -> list[Path]:
    """Make a folder; returns those that were not there, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


def replace(unfinished: Path, path: Path) -> None:
    """Put a file, or a folder with all that it holds, at a path, for good."""
    for each in (*unfinished.rglob("*"), unfinished):
        sync(each)
    os.replace(unfinished, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def named(error: OSError, path: Path) -> OSError:
    """The error with the path, which a write to an open file does not name."""
    if error.errno is None:
        return error
    return OSError(error.errno, os.strerror(error.errno), str(path))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    write(path, lambda temporary: temporary.write_bytes(data))


def read_text(path: Path) -> str:
    """A file of ours; DamagedError where there is none, or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"There is no file {path}, which was written.") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} is damaged: it is no text ({error}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of ours; DamagedError where there is none."""
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged: it is no JSON object.")
    return found


def sha256(path: Path) -> str:
    """Of a file of ours; DamagedError where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"There is no file {path}, which was written.") from error


def inside(folder: Path) -> list[Path]:
    """The files in a folder and in those in it."""
    return [path for path in folder.rglob("*") if path.is_file()]


def seal(folder: Path, files: Iterable[Path], **about: Any) -> None:
    """Write the manifest of files in a folder, and what it says about them."""
    digests = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    content = {"about": about, "files": dict(sorted(digests.items()))}
    whole = {"sha256": of_content(content), **content}
    write_text(folder / MANIFEST, json.dumps(whole, indent=2) + "\n")


def of_content(content: dict[str, Any]) -> str:
    """The sha256 of a manifest's own content."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says, under `about` and `files`."""
    path = folder / MANIFEST
    found = read_json(path)
    content = {key: value for key, value in found.items() if key != "sha256"}
    if set(content) != {"about", "files"} or found["sha256"] != of_content(content):
        raise DamagedError(f"{path} is damaged: its sha256 is another.")
    paths = map(PurePosixPath, found["files"])
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DamagedError(f"{path} is no manifest: it names files of other folders.")
    return content


def check(folder: Path, *names: str) -> dict[str, Any]:
    """What a manifest says about its files, if they are what was written.

    Args:
      folder: with the manifest.
      names: of the files that are looked at; all that it names if there are none.

    Raises:
      DamagedError: names the file.
    """
    content = read_manifest(folder)
    for name in names or content["files"]:
        if sha256(folder / name) != content["files"].get(name):
            raise DamagedError(
                f"{folder / name} does not hold what was written into it: its sha256 "
                f"is another than in {folder / MANIFEST}."
            )
    about: dict[str, Any] = content["about"]
    return about


def discard(folder: Path) -> None:
    """Remove the files that a manifest names, it, and the folders if they are empty.

    The manifest goes last: what a kill leaves can be discarded again.
    """
    for name in read_manifest(folder)["files"]:
        (folder / name).unlink(missing_ok=True)
    for inner in sorted((x for x in folder.rglob("*") if x.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()
    (folder / MANIFEST).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
