"""docs/method.md."""

from claims import outer
from claims.committed import interval, run
from claims.differences import CIFAR, POINT
from claims.pages import Claim

CAP = 1 / (2 * 3 * 10)


def cap():
    """SGD's best rate on digits at batch 8 lies near it."""
    best = run("sensitivity-digits").best("sgd", 8)
    assert abs(best / CAP - 1) < 0.1
    return (CAP,)


def over_adam(method):
    return interval(run(CIFAR).minus(method, "adam"), POINT)


CLAIMS = [
    Claim(
        "squeezed into 2 epochs of CIFAR-10, TRAdam gains {:.1f} +- {:.1f} points over "
        "Adam (3 seeds), and Adam at 0.293 times the rate {:.1f} +- {:.1f}.",
        lambda: (*over_adam("tradam"), *over_adam("adam at 0.293 x")),
    ),
    Claim("about {:.3f} for $\\lambda = 3$, $S = 10$, near SGD's best rate", cap),
    *outer.OF_METHOD,
]
COPIED = ()
STABILITY = "test_stability_limits_that_the_documents_quote"
EXEMPT = {
    "to 1e-12 and 1e-7 in float64": "test_published_trajectories",
    "in (0, 1]": "algebra",
    "stable for $x = \\eta h$ up to 3.8": STABILITY,
    "spectral radius of the product exceeds 1": "algebra",
    "| none, no inner decay (SGD) | above 3.8 |": STABILITY,
    "| none, inner decay | 0.26 to 0.49, 1.17 to 1.72, 2.58 to 3.61 |": STABILITY,
    "0.125 to 0.40, 1.07 to 1.62, 2.48 to 3.52 |": STABILITY,
    "| coupled, $\\lambda_w$ above about 0.097 | from 0 on |": STABILITY,
}
