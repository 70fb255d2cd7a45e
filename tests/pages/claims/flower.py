"""docs/recipes/flower.md, whose measured numbers stand in its log."""

EXEMPT = {
    "[#1654]": "a pull request",
    "[#2210]": "a pull request",
    "[#1774]": "an issue",
    "`FedProx` in flwr 1.42": "a version",
    "of flwr 1.42 on a CPU": "a version",
    "the digits 0 to 4. The other has 5 to 9 and a few of 4": "the data",
    "In round 2": "a setting",
    "In round 3": "a setting",
}
