"""docs/evidence.md, which measures nothing."""

EXEMPT = {
    "leaves out 0": "a definition",
    "able to learn over 100 tasks": "a setting",
    "up to batch 32, behind at 128": "settings",
    "[30 at width 16]": "settings",
    "150 old images": "a setting",
    "(SmolLM2-135M, 30 steps)": "a name, and a setting",
    "was fine-tuned in 30 short steps; the comparison in 300 longer ones": "settings",
    "published 200 epochs, CIFAR-100": "settings",
}
