"""Damaged files of a run: the same numbers, or a sentence that names the file.

The oracle is a run that nothing happened to.
"""

import json
import shutil

import pytest
from faults import *  # noqa: F403
from faults import (
    again,
    ended,
    files_of,
    invoke,
    numbers_of,
    refused,
    report,
    resume,
    sample,
)

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def flip(where):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(where * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return damage


def cut(share):
    return lambda path: path.write_bytes(
        path.read_bytes()[: int(share * path.stat().st_size)]
    )


def to_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "first byte flipped": flip(0.0),
    "middle byte flipped": flip(0.5),
    "last byte flipped": flip(1.0),
    "half": cut(0.5),
    "empty": cut(0),
    "gone": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"7"),
    "a folder": to_folder,
}
LAST, BEFORE = "checkpoints/1-1-4", "checkpoints/1-1-0"
ARRAYS = (
    *("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "commit_success.txt"),
    *("ocdbt.process_0/manifest.ocdbt", "d/0"),
    *(f"ocdbt.process_0/d/{k}" for k in range(4)),
)


def find(folder, name):
    """Find a file; a number stands for the one of that rank, as Orbax draws names."""
    path = folder / name
    if path.name.isdigit():
        return sorted(path.parent.iterdir())[int(path.name)]
    return path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["manifest.json", "rows.csv", *(f"lanes/{each}" for each in ARRAYS)]
)
def test_last_checkpoint(half, name, damage):
    path = find(half / LAST, name)
    DAMAGES[damage](path)
    before = files_of(half)
    refused(resume(half), path, "to go on by --resume from the checkpoint before it")
    assert files_of(half) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_run_is(half, damage):
    path = half / "checkpoints/run.json"
    DAMAGES[damage](path)
    refused(resume(half), path)


def test_the_way_out_is_one(half, undisturbed):
    find(half / LAST, "lanes/ocdbt.process_0/d/0").write_bytes(b"")
    refused(resume(half), f"Delete {half / LAST} to go on")
    shutil.rmtree(half / LAST)
    assert ended(resume(half))
    assert numbers_of(half) == undisturbed


def test_without_any_checkpoint_it_starts_over(half, undisturbed):
    shutil.rmtree(half / LAST)
    DAMAGES["half"](half / BEFORE / "rows.csv")
    refused(resume(half), f"Delete {half / 'checkpoints'} to start anew")
    shutil.rmtree(half / "checkpoints")
    assert ended(again(half))
    assert numbers_of(half) == undisturbed


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_nothing_goes_on_from(half, undisturbed, damage):
    """An earlier checkpoint, the rows that are shown, TensorBoard's file."""
    names = [f"{BEFORE}/rows.csv", f"{BEFORE}/lanes/_METADATA", "metrics.csv"]
    events = next((half / "tensorboard").glob("*/*/events*"))
    for path in (*(half / name for name in names), events):
        DAMAGES[damage](path)
    if ended(resume(half)):
        assert numbers_of(half) == undisturbed
    else:
        assert damage == "a folder"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.json", "_METADATA", "ocdbt.process_0/d/1"])
def test_weights_of_a_run_that_goes_on(half, name, damage):
    path = find(half / "weights/batch 8/sgd", name)
    DAMAGES[damage](path)
    refused(resume(half), path, "to start anew")


RENAMES = [
    (LAST, "checkpoints/0-1-4"),
    (LAST, "checkpoints/1-2-0"),
    (LAST, "checkpoints/1-0-4"),
    (BEFORE, "checkpoints/1-2-0"),
    (BEFORE, "checkpoints/0-2-0"),
    (BEFORE, "checkpoints/7-0-0"),
    (f"{LAST}/rows.csv", f"{LAST}/rows"),
    (f"{LAST}/lanes", f"{LAST}/lane"),
    ("checkpoints/run.json", "checkpoints/run"),
    ("checkpoints", "checkpoint"),
]


@pytest.mark.parametrize(("old", "new"), RENAMES)
def test_renamed(half, undisturbed, old, new):
    (half / old).rename(half / new)
    if ended(resume(half)):
        assert numbers_of(half) == undisturbed


@pytest.mark.parametrize("name", ["manifest.json", "lanes"])
def test_parts_of_two_checkpoints(half, name):
    """Each is whole, but not the other's."""
    one, other = half / LAST / name, half / BEFORE / name
    one.rename(half / "kept")
    other.rename(one)
    refused(resume(half), half / LAST)


def test_a_checkpoint_of_another_run(half):
    """The same experiment with another number of epochs."""
    path = half / "checkpoints/run.json"
    configuration = json.loads(path.read_text())
    path.write_text(json.dumps(configuration | {"device": "another"}))
    refused(resume(half), path, "is not the one that")


DIGIT = {
    "a digit of the rows": (f"{LAST}/rows.csv", "0.1", "0.2"),
    "a row less": (f"{LAST}/rows.csv", "\n8,", "\n"),
    "a position": (f"{LAST}/manifest.json", "4\n", "0\n"),
    "the seconds": (f"{LAST}/manifest.json", "0", "1"),
}


@pytest.mark.parametrize("change", DIGIT)
def test_one_digit(half, change):
    name, old, new = DIGIT[change]
    text = (half / name).read_text()
    assert old in text
    (half / name).write_text(text.replace(old, new, 1))
    refused(resume(half), half / name)


FINISHED = {"report": report, "resume": resume, "run": again, "sample": sample}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["metrics.csv", "meta.json", "manifest.json"])
@pytest.mark.parametrize("command", FINISHED)
def test_results(finished, undisturbed, command, name, damage):
    DAMAGES[damage](finished / name)
    before = files_of(finished)
    if ended(result := FINISHED[command](finished)):
        unread = (command, name, damage)
        assert command == "run" or unread[1:] == ("manifest.json", "gone"), unread
        assert numbers_of(finished) == undisturbed
    else:
        assert str(finished) in result.output
        assert name in result.output
        assert files_of(finished) == before


def test_one_digit_of_the_results(finished):
    text = (finished / "metrics.csv").read_text()
    (finished / "metrics.csv").write_text(text.replace("0.1", "0.2", 1))
    for command in (report, resume, sample):
        refused(command(finished), finished / "metrics.csv", "sha256")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.json", *ARRAYS])
def test_weights(finished, name, damage):
    path = find(finished / "weights/batch 8/trsgd", name)
    DAMAGES[damage](path)
    refused(sample(finished), path, "python -m benchmarks run small")
    assert not (finished / "samples").exists()


def test_weights_under_another_name(finished):
    one, other = (finished / "weights/batch 8" / name for name in ("sgd", "trsgd"))
    one.rename(finished / "kept")
    other.rename(one)
    (finished / "kept").rename(other)
    refused(sample(finished), "sgd/manifest.json")
    (finished / "manifest.json").unlink()
    refused(sample(finished), "holds the weights of batch 8, trsgd")


def without_manifest(finished):
    (finished / "manifest.json").unlink()
    return finished


def drop(*keys):
    def damage(text):
        meta = json.loads(text)
        for key in keys[:-1]:
            meta = meta[key]
        whole = json.loads(text)
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return json.dumps(whole)

    return damage


def lines(keep):
    return lambda text: "".join(keep(text.splitlines(keepends=True)))


META = {
    **{f"no {key}": drop(key) for key in ("experiment", "lanes", "device", "wording")},
    **{
        f"no {key}": drop("experiment", key) for key in ("epochs", "seeds", "strengths")
    },
    "no JSON": lambda text: text[:-9],
    "a list": lambda text: f"[{text}]",
    "a number": lambda text: "1",
    "no text": lambda text: "\udcff" + text,
    "no bytes": lambda text: "",
    "a deep list": lambda text: "[" * 100_000,
}
METRICS = {
    "no rows": lines(lambda rows: rows[:1]),
    "no head": lines(lambda rows: rows[1:]),
    "no bytes": lambda text: "",
    "no text": lambda text: "\udcff" + text,
    "a row less": lines(lambda rows: rows[:-1]),
    "the end of a row less": lambda text: text[:-20],
    "half": lambda text: text[: len(text) // 2],
    "a longer row": lambda text: text + "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\n",
    "words": lambda text: text.replace("0.1", "word"),
    "another column": lambda text: text.replace("seed", "seet", 1),
    "no losses": lambda text: text.replace("validation_loss", "x", 1),
    "zeros": lambda text: "\0" * len(text),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [("meta.json", x) for x in META] + [("metrics.csv", x) for x in METRICS],
)
def test_results_of_a_time_without_manifests(finished, name, damage):
    """As the committed ones are: what can be seen without a checksum."""
    path = without_manifest(finished) / name
    change = (META if name == "meta.json" else METRICS)[damage]
    text = change(path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    refused(report(finished), path, "run anew: python -m benchmarks run small")


def test_results_without_a_manifest_are_reported(finished):
    table = (finished / "table.md").read_bytes()
    assert ended(report(without_manifest(finished)))
    assert (finished / "table.md").read_bytes() == table


def test_results_without_their_weights_are_reported(finished):
    """As they are committed: weights are not."""
    shutil.rmtree(finished / "weights")
    assert ended(report(finished))
    assert ended(resume(finished))
    refused(sample(finished), finished / "weights", "python -m benchmarks run small")


def test_a_run_begun_before_there_were_manifests(half):
    path = half / "checkpoints/run.json"
    configuration = json.loads(path.read_text())
    del configuration["checkpoints"]
    path.write_text(json.dumps(configuration))
    refused(resume(half), "checkpoints: None there, with manifests here")


def test_debug_shows_where(half):
    DAMAGES["half"](half / LAST / "rows.csv")
    result = invoke("run", "small", "--resume", "--debug", "--out", half)
    assert isinstance(result.exception, ValueError)
