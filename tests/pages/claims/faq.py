"""docs/faq.md, which measures nothing."""

EXEMPT = {
    "sets `b1` to 0.1, without an error": "an argument",
    "the default period of 10": "a default",
    "above a strength of 1 / (2 x learning rate)": "algebra",
    "learning rate x strength below 1": "algebra",
}
