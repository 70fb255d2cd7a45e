"""Draw what anchor, period and pull are: `python -m docs.anchor_picture`."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prox_optax import get_anchor, proximal

FILE = Path(__file__).parent / "assets" / "anchor.png"
STEPS, RATE, NOISE, BEST, PERIOD = 60, 0.03, 2.0, 1.0, 10
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito's, and a grey


def trained(strength: float, period: int | None) -> tuple[jax.Array, jax.Array]:
    """Return one parameter before each update, and its anchor during it.

    The loss is (w - BEST)**2, and its gradient has normal noise.
    """
    optimizer = optax.chain(proximal(strength, period), optax.sgd(RATE))
    start = jnp.array(0.0)

    def step(
        carry: tuple[jax.Array, optax.OptState], noise: jax.Array
    ) -> tuple[tuple[jax.Array, optax.OptState], tuple[jax.Array, jax.Array]]:
        w, state = carry
        gradient = 2 * (w - BEST) + NOISE * noise
        updates, state = optimizer.update(gradient, state, w)
        moved = jnp.asarray(optax.apply_updates(w, updates))
        return (moved, state), (w, jnp.asarray(get_anchor(state, w)))

    noises = jax.random.normal(jax.random.key(3), (STEPS,))
    _, path = jax.lax.scan(step, (start, optimizer.init(start)), noises)
    return path


def draw_path(axes: Axes, title: str, strength: float, period: int | None) -> None:
    """Draw a parameter with a pull, its anchor, and the parameter without a pull."""
    free, _ = trained(0.0, None)
    w, a = trained(strength, period)
    steps = range(STEPS)
    axes.plot(steps, free, GREY, lw=1, ls=":", label="parameter without a pull")
    axes.plot(steps, w, BLUE, lw=2, label="parameter $w$")
    axes.step(steps, a, ORANGE, where="post", ls="--", label="anchor $a$")
    at = 43 if period else 25  # where w and a are apart
    axes.annotate(
        "",
        (at, float(a[at])),
        (at, float(w[at])),
        arrowprops={"arrowstyle": "->", "color": ORANGE, "lw": 1.5},
    )
    middle = (at + 1, float(a[at] + w[at]) / 2)
    axes.annotate("pull", middle, va="center", color=ORANGE)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("update")


def draw() -> Figure:
    """Draw a moving anchor beside one that stays."""
    figure = Figure(figsize=(8, 3.2), layout="constrained", dpi=150)
    left, right = figure.subplots(1, 2, sharey=True)
    moving = f"period={PERIOD}: the anchor is taken anew\nevery {PERIOD} updates"
    draw_path(left, moving, 5.0, PERIOD)
    draw_path(right, "period=None: the anchor stays\n(pretrained weights)", 1.0, None)
    left.set_xticks(range(0, STEPS + 1, PERIOD))
    left.set_ylabel("value")
    left.legend(loc="lower right", fontsize=8)
    return figure


if __name__ == "__main__":
    draw().savefig(FILE)
