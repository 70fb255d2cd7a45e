"""docs/which_anchor.md."""

import re

from claims import continual, fifteen_epochs, finetune, outer, plasticity, thirty_epochs
from claims.committed import text
from claims.pages import Claim

INTERVAL = re.compile(r"([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\)")


def after(name, words, unit=0.01):
    """Return the first difference, with its interval, that follows these words."""
    _, found, rest = text(f"examples/results/{name}.md").partition(words)
    assert found, (name, words)
    match = INTERVAL.search(rest)
    assert match
    return tuple(round(float(x) / unit, 6) for x in match.groups())


TOO_SHORT = "| DQN Pro | 142.8589 +-"
"""The row at a period of 5 updates."""

CLAIMS = [
    finetune.OF_WHICH,
    Claim(
        "new task {:.1f} +- {:.1f} points above the best tuned peer that keeps no old "
        "data, and {:.1f} +- {:.1f} above plain",
        lambda: (
            *continual.minus(continual.EWC, continual.best_peer()),
            *continual.minus(continual.EWC, "plain"),
        ),
    ),
    Claim(
        "the difference is {:.1f} +- {:.1f} points.",
        lambda: continual.minus(
            continual.ADAM_EWC, "adam, ewc from its moment, decoupled"
        ),
    ),
    Claim(
        "On five such tasks it is {:.1f} +- {:.1f} points above the best",
        lambda: continual.minus(
            continual.EWC, continual.best_peer(continual.DIGITS_5), continual.DIGITS_5
        ),
    ),
    Claim(
        "old images are {:.1f} +- {:.1f} points above it",
        lambda: continual.minus("replay of 150", continual.EWC, continual.DIGITS_5),
    ),
    Claim(
        "state is {:.1f} +- {:.1f} points above that from the data.",
        lambda: continual.minus(
            "adam, ewc from its moment, decoupled",
            continual.ADAM_EWC,
            continual.DIGITS_5,
        ),
    ),
    Claim(
        "this pull gains {:.1f} +- {:.1f} points over decoupled L2-SP, is equal to SFA "
        "({:.1f} +- {:.1f}), and 150 old images gain {:.1f} +- {:.1f} points over it.",
        lambda: (
            *continual.minus(continual.EWC, "l2-sp, decoupled", continual.FASHION),
            *continual.minus(continual.EWC, "sfa", continual.FASHION),
            *continual.minus("replay of 150", continual.EWC, continual.FASHION),
        ),
    ),
    Claim(
        "With Adam this pull is {:.1f} +- {:.1f} points above L2-SP",
        lambda: continual.with_adam()[:2],
    ),
    Claim(
        "But the mean accuracy of both tasks is then {:.1f} %, with SGD {:.1f}. On "
        "Fashion-MNIST it is the other way round, {:.1f} % with Adam and {:.1f} with "
        "SGD",
        lambda: tuple(
            continual.mean(method, name)[0]
            for name in (continual.DIGITS, continual.FASHION)
            for method in (continual.ADAM_EWC, continual.EWC)
        ),
    ),
    Claim(
        "With Adam the pull is {:.1f} +- {:.1f} points above L2-SP there, and the "
        "coupled form is {:.1f} +- {:.1f} points above the decoupled one (20 other "
        "seeds), on two tasks {:.1f} +- {:.1f} below it",
        lambda: (*continual.with_adam()[2:], *continual.coupled_with_adam()),
    ),
    Claim(
        "texts took {:.3f} +- {:.3f} bits a byte less with an average that starts from "
        "the old weights than with this pull, {:.3f} +- {:.3f} less with WiSE-FT's "
        "mean of old and new weights, and {:.3f} +- {:.3f} less with KL;",
        lambda: tuple(
            x
            for peer in ("average from the old", "wise-ft", "kl on new inputs")
            for x in continual.minus(
                continual.ADAM_EWC, f"adam, {peer}", continual.TEXT, 1
            )
        ),
    ),
    Claim(
        "take, is {:.1f} +- {:.1f} points from the weighted pull.",
        lambda: continual.minus("replay of 150", continual.EWC),
    ),
    Claim(
        "on the same images keep more, {:.1f} +- {:.1f} points.",
        lambda: continual.minus("kl on 150 kept", continual.EWC),
    ),
    Claim(
        "Over 100 tasks of new random labels online accuracy is {:.1f} +- {:.1f} "
        "points above Adam's, {:.1f} +- {:.1f} above AdamW's, {:.1f} +- {:.1f} above "
        "that of L2 to zero and {:.1f} +- {:.1f} above that of shrink-and-perturb, the "
        "nearest, all tuned",
        lambda: (
            *plasticity.minus("adam"),
            *plasticity.minus("adam, l2 to 0, decoupled"),
            *plasticity.minus("adam, l2 to 0, coupled"),
            *plasticity.minus("adam, shrink and perturb"),
        ),
    ),
    Claim(
        "L2-SP minus plain fine-tuning on the new digits is {:.1f} ({:.1f} to {:.1f}), "
        "at the weakest pull",
        lambda: after("finetune_l2sp", "L2-SP and plain: no significant difference,"),
    ),
    Claim(
        "at a tuned rate: {:.1f} ({:.1f} to {:.1f}) with 90 % of stragglers",
        lambda: after("federated_fedprox", "90% stragglers: FedProx, mu tuned and"),
    ),
    Claim(
        "once the period is tuned: {:.1f} steps of an episode ({:.1f} to {:.1f}), on",
        lambda: after("dqn_pro", "DQN Pro and DQN: no significant difference,", 1),
    ),
    Claim(
        "5 updates, the pull gains {:.1f} steps ({:.1f} to {:.1f}).",
        lambda: after("dqn_pro", TOO_SHORT, 1),
    ),
    Claim(
        "noise multiplier of 2 it gains {:.1f} points ({:.1f} to {:.1f}), and",
        lambda: after("private_training", "| average | 0.8139 +-"),
    ),
    Claim(
        "TRAdam is {:.2f} +- {:.2f} points above Adam at the published rates, and "
        "{:.2f} +- {:.2f} from Adam at 0.293 times its rate",
        lambda: (
            *fifteen_epochs.minus("tradam", "adam"),
            *fifteen_epochs.minus("tradam", "adam at 0.293 x"),
        ),
    ),
    Claim(
        "30 epochs and 6 seeds it is {:.2f} +- {:.2f} from Adam itself.",
        lambda: thirty_epochs.minus("tradam", "adam"),
    ),
    *outer.OF_WHICH,
]
COPIED = ()
EXEMPT = {
    "with 90 % of stragglers": "a setting",
    "too short, 5 updates": "a setting",
    "noise multiplier of 2": "a setting",
    "a strength of 0": "a setting",
    "SmolLM2-135M in 30 steps": "a name, and a setting",
    "The tuning chose a `mu` of 0": "examples/results/federated_fedprox.md",
    "24 trials each": "a setting",
    "Replay of 150 images": "a setting",
    "the mean rate to 0.293 of": "H_10 / 10",
}
