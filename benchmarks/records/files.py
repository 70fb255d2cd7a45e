"""Files that are written whole or not at all, and checked when they are read.

A manifest beside files holds their sha256 and its own. It is written last. A file that
does not have the sha256 of its manifest is refused.
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
    """Add to a DamagedError how to go on without the file."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}\n{way_out}") from error


def temporary(path: Path) -> Path:
    """Name the path at which this process writes a file before it is renamed."""
    return path.with_name(f".{os.getpid()}-{path.name}")


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary file, then rename it.

    A power cut leaves the old file or the new one: the disk has what is in a file
    before it has the name.

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
    """Make a folder; return those that were not there, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


def replace(unfinished: Path, path: Path) -> None:
    """Rename a file or a folder to a path, once the disk has all that is in it."""
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
    """Return the error with the path, which errors of open files do not name."""
    if error.errno is None:
        return error
    return OSError(error.errno, os.strerror(error.errno), str(path))


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all."""
    write(path, lambda temporary: temporary.write_bytes(data))


def read_text(path: Path) -> str:
    """Read a text that was written; DamagedError if there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"There is no file {path}, which was written.") from error
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} is damaged: it is no text ({error}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that was written; DamagedError if there is none."""
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged: it is no JSON object.")
    return found


def sha256(path: Path) -> str:
    """Return the sha256 of a file that was written; DamagedError if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"There is no file {path}, which was written.") from error


def files_in(folder: Path) -> list[Path]:
    """List the files in a folder and in the folders in it."""
    return [path for path in folder.rglob("*") if path.is_file()]


def seal(folder: Path, files: Iterable[Path], **about: Any) -> None:
    """Write the manifest of files in a folder, with further facts about them."""
    digests = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    content = {"about": about, "files": dict(sorted(digests.items()))}
    whole = {"sha256": manifest_sha256(content), **content}
    write_text(folder / MANIFEST, json.dumps(whole, indent=2) + "\n")


def manifest_sha256(content: dict[str, Any]) -> str:
    """Return the sha256 of a manifest's own content."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest: the facts in `about`, and the sha256 of its files in `files`."""
    path = folder / MANIFEST
    found = read_json(path)
    content = {key: value for key, value in found.items() if key != "sha256"}
    if set(content) != {"about", "files"} or found["sha256"] != manifest_sha256(
        content
    ):
        raise DamagedError(f"{path} is damaged: its sha256 is another.")
    paths = map(PurePosixPath, found["files"])
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise DamagedError(f"{path} is no manifest: it names files of other folders.")
    return content


def check(folder: Path, *names: str) -> dict[str, Any]:
    """Check the files of a manifest; return its facts about them.

    Args:
      folder: with the manifest.
      names: of the files to check; without any, all that it names.

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
    """Remove what a manifest names, then the manifest, and the folders left empty.

    What a kill leaves can be discarded again.
    """
    for name in read_manifest(folder)["files"]:
        (folder / name).unlink(missing_ok=True)
    for inner in sorted((x for x in folder.rglob("*") if x.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()
    (folder / MANIFEST).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
