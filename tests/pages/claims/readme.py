"""README.md."""

from claims import (
    continual,
    costs,
    fifteen_epochs,
    finetune,
    plasticity,
    thirty_epochs,
    which,
)
from claims.committed import after_holm, better, worse
from claims.differences import on_digits
from claims.pages import WORDS, Claim


def target_too_short():
    """Of DQN Pro, minus DQN: the mean and half of the interval."""
    mean, low, high = which.after("dqn_pro", which.TOO_SHORT, 1)
    return mean, (high - low) / 2


CLAIMS = [
    finetune.IN_README,
    Claim(
        "on digits with SGD, without old data, it is {:.1f} +- {:.1f} points (two "
        "tasks) and {:.1f} +- {:.1f} (five) above the best of its tuned peers, with "
        "Adam {:.1f} +- {:.1f} and {:.1f} +- {:.1f} above L2-SP;",
        lambda: (
            *(
                x
                for name in (continual.DIGITS, continual.DIGITS_5)
                for x in continual.minus(continual.EWC, continual.best_peer(name), name)
            ),
            *continual.with_adam(),
        ),
    ),
    Claim(
        "over 100 tasks of new random labels its online accuracy is {:.1f} +- {:.1f} "
        "points above Adam's, {:.1f} +- {:.1f} above that of L2 to zero and {:.1f} +- "
        "{:.1f} above that of shrink-and-perturb, its nearest peer",
        lambda: (
            *plasticity.minus("adam"),
            *plasticity.minus("adam, l2 to 0, coupled"),
            *plasticity.minus("adam, shrink and perturb"),
        ),
    ),
    Claim(
        "{:.1f} +- {:.1f} steps longer episodes on CartPole",
        target_too_short,
    ),
    Claim(
        "a step with EWC took {:.2f} times as long as plain SGD's on 2 CPU cores "
        "({:.2f} to {:.2f}, 7 turns)",
        lambda: continual.took()[:3],
    ),
    Claim(
        "on an H100 an update of Adam with the anchor moves {:.0f} arrays of the "
        "parameters' size, where bare Adam moves {:.0f}.",
        lambda: (
            costs.moved("H100, H200", "proximal, adam")[0],
            costs.moved("H100, H200", "adam")[0],
        ),
    ),
    Claim(
        "of {} differences to tuned controls {} is positive beyond its own interval, "
        "{} are negative, {} after Holm's correction",
        lambda: (
            len(on_digits()),
            WORDS[better(on_digits())],
            WORDS[worse(on_digits())],
            {0: "none"}[after_holm(on_digits())],
        ),
    ),
    Claim(
        "TRAdam leads Adam by {:.2f} +- {:.2f}. But it is {:.2f} +- {:.2f} from Adam "
        "at 0.293 times the rate",
        lambda: (
            *fifteen_epochs.minus("tradam", "adam"),
            *fifteen_epochs.minus("tradam", "adam at 0.293 x"),
        ),
    ),
    Claim(
        "With a quarter of the channels, 30 epochs and 6 seeds it is {:.2f} +- {:.2f} "
        "from Adam itself.",
        lambda: thirty_epochs.minus("tradam", "adam"),
    ),
]

EXEMPT = {
    "agree with its published implementation to 1e-12 and to 1e-7": (
        "tests/library/test_reference.py, test_published_trajectories"
    ),
    "divide the rate by 1, 2, ... 10 within": "the algorithm",
    "left on average is 0.293 of it": "H_10 / 10",
    "Python 3.11 to 3.13, jax 0.8.2 or newer": "docs/compatibility.md",
    "TRSGD leads SGD by 1.9 points, TRAdam Adam by 3.9.": "published, read off plots",
    "2 seeds, a lossy": "a setting",
    "taken every 10 steps": "a setting",
    "SmolLM2-135M": "a name",
}
