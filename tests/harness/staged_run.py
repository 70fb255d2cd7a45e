"""A run that no one trained: of two methods, where seeds 5 and 6 tune, 7 to 9 test."""

import itertools

import numpy as np


def meta(score, method, *, items="images", **numbers):
    """Return the meta data of "plain" and a method, with more numbers of a task."""
    return {
        "experiment": {
            "first_seed": 5,
            "seeds": 5,
            "tuning_seeds": 2,
            "learning_rates": [0.1, 0.2],
            "train": None,
            "groups": [["all", ["plain", method]]],
            "contrasts": [[method, "plain"]],
            "primary": [[method, "plain"]],
            **numbers,
        },
        "score": score,
        "wording": {"items": items, "setting": "drawn."},
        "data_source": "drawn",
        "command": "a test",
        "lanes": 20,
        "device": {"platform": "cpu", "cores": 2},
        "versions": dict.fromkeys(
            ("python", "jax", "flax", "optax", "prox_optax"), "1"
        ),
        "seconds": {"compile": 1, "run": 2},
    }


def trials(tuning, test, number, values, epochs):
    """Yield the columns of each run, its split and its value before a shift.

    Args:
      tuning: the value of (method, trial) for the tuning seeds.
      test: the same for the others.
      number: the name of a number that all methods but "plain" have.
      values: its value in each trial.
      epochs: those that are evaluated.
    """
    for (name, trial), seed, epoch in itertools.product(tuning, range(5, 10), epochs):
        row = {
            "optimizer": name,
            "trial": trial,
            "learning_rate": [0.1, 0.2][trial],
            number: np.nan if name == "plain" else values[trial],
            "seed": seed,
            "epoch": epoch,
        }
        tunes = seed < 7
        value = (tuning if tunes else test)[name, trial]
        yield row, "validation" if tunes else "test", value
