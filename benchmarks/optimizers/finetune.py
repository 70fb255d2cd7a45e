"""Methods that fine-tune a pretrained network without what it was trained on.

They are those for tasks in series, of which the first is over when a run begins. What
they look at or keep of it are texts that the network itself wrote.
"""

from dataclasses import replace
from functools import partial

from benchmarks.optimizers.bases import l2_adam
from benchmarks.optimizers.continual import (
    Remembering,
    averaged,
    between_old_and_new,
    coupled,
    decoupled,
    interpolated,
    merged,
    the_average,
)
from benchmarks.optimizers.memory import (
    as_before_on_kept,
    as_before_on_new,
    fisher,
    replayed,
)

OWN_TEXTS = 64  # that are kept
SQUARED_TOGETHER = 2  # gradients, of which each is as large as the network

PRETRAINED = Remembering(l2_adam, first_rate=0.0)
DECAY = {"strength": (0.01, 0.1, 1.0, 10.0)}
L2 = {"strength": (0.01, 0.1, 1.0, 10.0)}
L2_DECOUPLED = {"strength": (3.0, 15.0, 75.0, 375.0)}
EWC = {"strength": (1e6, 1e7, 1e8, 1e9)}
WEIGHTS = {"weight": (0.03, 0.1, 0.3, 1.0)}
own_fisher = partial(fisher, together=SQUARED_TOGETHER)

ewc = replace(PRETRAINED, inner=decoupled, weigh=own_fisher)
kl = replace(PRETRAINED, term=as_before_on_new, teaches=True)
own_kl = replace(kl, term=as_before_on_kept, keeps=OWN_TEXTS)
replay = replace(PRETRAINED, term=replayed, keeps=OWN_TEXTS)
both = replace(kl, inner=decoupled, weigh=own_fisher)
METHODS = {
    "decay to 0": replace(PRETRAINED, inner=decoupled, to_zero=True).method(DECAY),
    "l2-sp, coupled": replace(PRETRAINED, inner=coupled).method(L2),
    "l2-sp, decoupled": replace(PRETRAINED, inner=decoupled).method(L2_DECOUPLED),
    "ewc, decoupled": ewc.method(EWC),
    "sfa": replace(PRETRAINED, inner=merged).method({"merge": (0.03, 0.1, 0.25, 0.5)}),
    "average from the old": replace(PRETRAINED, inner=averaged).method(
        {"average_step": (0.003, 0.01, 0.03, 0.1)}, the_average
    ),
    "wise-ft": replace(PRETRAINED, inner=interpolated, teaches=True).method(
        {"share": (0.3, 0.5, 0.7, 0.9)}, between_old_and_new
    ),
    "kl on new inputs": kl.method(WEIGHTS),
    "kl on new inputs, ewc": both.method({"strength": (1e6, 1e7), "weight": (0.1, 1)}),
    "kl on own samples": own_kl.method(WEIGHTS),
    "replay of own samples": replay.method(WEIGHTS),
}
OPTIMIZERS = {
    "fine-tuned": PRETRAINED.method(),
    **{f"fine-tuned, {name}": each for name, each in METHODS.items()},
}
