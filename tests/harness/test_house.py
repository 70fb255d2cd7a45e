"""Where things live in benchmarks/: a folder imports only from folders below it."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "benchmarks"
FLOORS = (
    {"models"},
    {"optimizers", "records"},
    {"training", "report", "data"},
    {"tasks"},
    {"experiments"},
    {"runs"},
    {"costs"},
    {"__main__.py"},
)
"""From the ground up. Folders of one floor do not import each other."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(x.name.startswith("benchmarks") for x in node.names), path
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
        if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("benchmarks."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_a_folder_imports_only_below_itself(floor):
    for room in FLOORS[floor]:
        below = {room}.union(*FLOORS[:floor])
        for path in [HOUSE / room, *(HOUSE / room).rglob("*.py")]:
            if path.is_file():
                assert {*imported(path)} <= below, path


def test_every_room_has_a_floor():
    rooms = {path.name for path in HOUSE.iterdir() if [*path.glob("*.py")]}
    assert {*rooms, "__main__.py"} == set().union(*FLOORS)
