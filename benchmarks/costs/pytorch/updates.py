"""TRSGD and TRAdam as an eager loop over parameters in PyTorch, in place.

From the published rule, as a user of PyTorch writes it. Needs torch.
"""

import math
from collections.abc import Callable, Sequence

import torch

Update = Callable[[], None]


def trsgd(
    ws: Sequence[torch.Tensor],
    gs: Sequence[torch.Tensor],
    rate: float,
    momentum: float,
    period: int,
    strength: float,
) -> Update:
    """Return a call that updates the parameters `ws` by the gradients `gs`."""
    anchors, buffers = zeros(ws), zeros(ws)
    k = 0

    @torch.no_grad()
    def update() -> None:
        nonlocal k
        for w, g, a, b in zip(ws, gs, anchors, buffers, strict=True):
            b.mul_(momentum).add_(pulled(w, g, a, k, strength))
            w.add_(b, alpha=-rate / (k + 1))
        k = (k + 1) % period

    return update


def tradam(
    ws: Sequence[torch.Tensor],
    gs: Sequence[torch.Tensor],
    rate: float,
    b1: float,
    b2: float,
    eps: float,
    period: int,
    strength: float,
) -> Update:
    """Return a call that updates the parameters `ws` with Adam's moments."""
    anchors, ms, vs = zeros(ws), zeros(ws), zeros(ws)
    k = t = 0

    @torch.no_grad()
    def update() -> None:
        nonlocal k, t
        t += 1
        for w, g, a, m, v in zip(ws, gs, anchors, ms, vs, strict=True):
            g = pulled(w, g, a, k, strength)
            m.mul_(b1).add_(g, alpha=1 - b1)
            v.mul_(b2).addcmul_(g, g, value=1 - b2)
            root = v.sqrt().div_(math.sqrt(1 - b2**t)).add_(eps)
            w.addcdiv_(m, root, value=-rate / (k + 1) / (1 - b1**t))
        k = (k + 1) % period

    return update


def pulled(
    w: torch.Tensor, g: torch.Tensor, a: torch.Tensor, k: int, strength: float
) -> torch.Tensor:
    if k == 0:
        a.copy_(w)
    return g.add(w - a, alpha=2 * strength)


def zeros(ws: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.zeros_like(w) for w in ws]
