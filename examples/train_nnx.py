"""`python examples/train_nnx.py`: an ordinary NNX script, optimizer swapped.

Where it said `optax.adamw(3e-3)` it says `prox_optax.tradamw(1e-2)`: the inner decay
lowers the mean rate to 0.293 of it. The model and the optimizer are donated to the
step, so that it makes no second copy of the parameters, the moments or the anchor.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import prox_optax

BATCH, TEST = 32, 360


class Network(nnx.Module):
    """Pixels -> hidden -> logits."""

    def __init__(self, hidden: int, rngs: nnx.Rngs):
        self.body = nnx.Linear(64, hidden, rngs=rngs)
        self.head = nnx.Linear(hidden, 10, rngs=rngs)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Logits, shape (batch, classes)."""
        return self.head(nnx.relu(self.body(pixels)))


@nnx.jit(donate_argnums=(0, 1))
def train_step(
    model: Network,
    optimizer: nnx.Optimizer[Network],
    pixels: jax.Array,
    labels: jax.Array,
) -> dict[str, jax.Array]:
    """One update in place, and what to log of it."""

    def loss_of(model: Network) -> jax.Array:
        losses = optax.losses.softmax_cross_entropy_with_integer_labels
        return losses(model(pixels), labels).mean()

    loss, grads = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, grads)
    params = nnx.state(model, nnx.Param)
    distance = prox_optax.anchor_distance(optimizer.opt_state, params)
    return {"loss": loss, "anchor distance (relative)": distance.relative}


def main(tiny: bool = False) -> None:
    """Train on scikit-learn's digits and print the test accuracy."""
    random = np.random.default_rng(0)
    pixels, labels = load_digits(return_X_y=True)
    order = random.permutation(len(labels))
    pixels, labels = (pixels[order] / 16).astype(np.float32), labels[order]
    model = Network(64, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, prox_optax.tradamw(1e-2), wrt=nnx.Param)
    for epoch in range(3 if tiny else 20):
        train = TEST + random.permutation(len(labels) - TEST)
        for rows in train[: 44 * BATCH].reshape(44, BATCH):
            logs = train_step(model, optimizer, pixels[rows], labels[rows])
        right = model(pixels[:TEST]).argmax(axis=-1) == labels[:TEST]
        shown = {**logs, "test accuracy": jnp.mean(right)}
        print(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in shown.items()))


if __name__ == "__main__":
    main(tiny="--tiny" in sys.argv)
