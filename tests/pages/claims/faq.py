"""docs/faq.md, which measures nothing."""

EXEMPT = {
    "the default period of 10": "a default",
    "above a strength of 1 / (2 x learning rate)": "algebra",
    "learning rate x strength below 1": "algebra",
}
