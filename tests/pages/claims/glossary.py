"""docs/glossary.md, which measures nothing."""

EXEMPT = {
    "divided by 1, 2, 3": "the algorithm",
    "over a period of 10 is 0.293": "H_10 / 10",
    "contains 0": "a definition",
}
