"""README.md."""

from claims import continual, costs, fifteen_epochs, plasticity, which
from claims.committed import after_holm, better, worse
from claims.differences import on_digits
from claims.pages import WORDS, Claim
from claims.thirty_epochs import minus

CLAIMS = [
    Claim(
        "on digits, without old data, it is {:.1f} +- {:.1f} points (two tasks) and "
        "{:.1f} +- {:.1f} (five) above the best of its tuned peers",
        lambda: tuple(
            x
            for name in (continual.DIGITS, continual.DIGITS_5)
            for x in continual.minus(continual.EWC, continual.best_peer(name), name)
        ),
    ),
    Claim(
        "over 100 tasks of new random labels its online accuracy is {:.1f} +- {:.1f} "
        "points above Adam's and {:.1f} +- {:.1f} above that of L2 to zero",
        lambda: (
            *plasticity.minus("adam"),
            *plasticity.minus("adam, l2 to 0, coupled"),
        ),
    ),
    Claim(
        "{:.1f} steps ({:.1f} to {:.1f}) longer episodes on CartPole",
        lambda: which.after("dqn_pro", which.TOO_SHORT, 1),
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
        "TRAdam leads Adam by {:.2f} +- {:.2f} and is {:.2f} +- {:.2f} from Adam at "
        "0.293 x. At a quarter of the width in 30 epochs (6 seeds) TRSGD is {:.2f} +- "
        "{:.2f} from SGD at 0.212 x, TRAdam {:.2f} +- {:.2f} from Adam at 0.293 x.",
        lambda: (
            *fifteen_epochs.minus("tradam", "adam"),
            *fifteen_epochs.minus("tradam", "adam at 0.293 x"),
            *minus("trsgd", "sgd at 0.212 x"),
            *minus("tradam", "adam at 0.293 x"),
        ),
    ),
]

EXEMPT = {
    "agree with its published implementation to 1e-12 and to 1e-7": (
        "tests/library/test_reference.py, test_published_trajectories"
    ),
    "leaves 0.293 of the mean rate": "H_10 / 10",
    "TRSGD leads SGD by 1.9 points, TRAdam Adam by 3.9.": "published, read off plots",
    "2 seeds, a lossy": "a setting",
    "taken every 10 steps": "a setting",
}
