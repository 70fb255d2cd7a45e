"""A method looks the same in every figure, and like no other method beside it."""

import pytest

from benchmarks.experiments import EXPERIMENTS
from benchmarks.report import looks

GROUPS = {
    names: f"{experiment.name}: {title}"
    for experiment in EXPERIMENTS.values()
    for title, names in experiment.groups
}


@pytest.mark.parametrize("names", GROUPS, ids=GROUPS.values())
def test_no_two_of_a_group_look_alike(names):
    seen = [(x["color"], x["marker"], x["linestyle"]) for _, x in looks.of(names)]
    assert len({*seen}) == len(names)
    assert len({(marker, line) for _, marker, line in seen}) == len(names)


def test_a_known_method_has_one_look():
    known: dict[str, dict[str, object]] = {}
    for names in GROUPS:
        for name, style in looks.of(names):
            if looks.look(name) is not None:
                assert known.setdefault(name, style) == style, name
    assert known["trsgd"] == known["tradam"] != known["sgd"] == known["adam"]
    assert known["sgd at 0.293 x"] == known["adam at 0.293 x"]


def test_the_first_of_a_group_of_unknown_methods_is_not_drawn_as_a_base_twice():
    (_, base), (_, other) = looks.of(("sgd", "something new"))
    assert base["color"] == looks.BLACK != other["color"]
