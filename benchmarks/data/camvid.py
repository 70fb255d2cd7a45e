"""CamVid: street scenes with 11 classes of labels."""

from benchmarks.data.pairs import PairSpec, how_to_get

SPEC = PairSpec(
    "CamVid", classes=12, void=11, get=how_to_get("CamVid with its 11 classes", 11)
)
