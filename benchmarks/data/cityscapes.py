"""Cityscapes: street scenes with the 19 classes of labels that are trained on."""

from benchmarks.data.pairs import PairSpec, how_to_get

SPEC = PairSpec(
    "Cityscapes",
    classes=20,
    void=19,
    get=how_to_get("Cityscapes with its 19 train classes", 19),
)
