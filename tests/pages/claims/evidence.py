"""docs/evidence.md, which measures nothing."""

EXEMPT = {
    "leaves out 0": "a definition",
    "able to learn over 100 tasks": "a setting",
    "up to batch 32, behind at 128": "settings",
    "[30 at width 16]": "settings",
    "150 old images": "a setting",
    "published 200 epochs, CIFAR-100": "settings",
}
