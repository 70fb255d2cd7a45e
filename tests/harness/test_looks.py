"""A method looks the same in every figure, and like no other method beside it."""

import pytest
import report

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


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("plain", "sgd"),
        ("EWC", "ewc, decoupled"),
        ("a pull weighted by Fisher", "ewc, decoupled"),
        ("L2-SP", "l2-sp, decoupled"),
        ("a plain pull", "l2-sp, decoupled"),
        ("inner decay", "inner decay alone"),
        ("a lower rate alone", "sgd at 0.293 x"),
        ("proximal", "anchor alone"),
        ("Lookahead", "lookahead"),
        ("average", "weight average"),
        ("weight decay", "l2 to 0, coupled"),
        ("DiLoCo", "snoo"),
    ],
)
def test_the_examples_draw_a_method_as_the_harness_does(name, here):
    ((_, style),) = looks.of([here])
    ((_, drawn),) = report.looks([name]).items()
    assert drawn.items() <= {**style, "markersize": 4}.items()


def test_the_examples_draw_other_methods_in_colours_that_are_left():
    names = ["plain", "L2-SP", "EWC", "RDI", "both", "EASGD"]
    drawn = report.looks(names)
    assert [*drawn] == names
    colours = {x["color"] for x in drawn.values()}
    shapes = {(x["linestyle"], x["marker"]) for x in drawn.values()}
    assert len(colours) == len(shapes) == len(names)
    assert colours <= {looks.BLACK, *looks.COLOURS}
    more = report.looks([f"method {k}" for k in range(20)])
    assert {x["color"] for x in more.values()} == {*looks.COLOURS}
