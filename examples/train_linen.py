"""`python examples/train_linen.py`: an ordinary Linen script, optimizer swapped.

Where it said `optax.adamw(3e-3)` it says `prox_optax.tradamw(1e-2)`: the inner decay
lowers the mean rate to 0.293 of it. The TrainState is donated to the step, so that it
makes no second copy of the parameters, the moments or the anchor.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits

import prox_optax

BATCH, TEST = 32, 360


class Network(nn.Module):
    """Pixels -> hidden -> logits."""

    hidden: int

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Logits, shape (batch, classes)."""
        return nn.Dense(10)(nn.relu(nn.Dense(self.hidden)(pixels)))


@jax.jit(donate_argnums=0)
def train_step(
    state: TrainState, pixels: jax.Array, labels: jax.Array
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the next state, and what to log of the step."""

    def loss_of(params: dict[str, jax.Array]) -> jax.Array:
        losses = optax.losses.softmax_cross_entropy_with_integer_labels
        return losses(state.apply_fn({"params": params}, pixels), labels).mean()

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    state = state.apply_gradients(grads=grads)
    distance = prox_optax.anchor_distance(state.opt_state, state.params)
    return state, {"loss": loss, "anchor distance (relative)": distance.relative}


def main(tiny: bool = False) -> None:
    """Train on scikit-learn's digits and print the test accuracy."""
    random = np.random.default_rng(0)
    pixels, labels = load_digits(return_X_y=True)
    order = random.permutation(len(labels))
    pixels, labels = (pixels[order] / 16).astype(np.float32), labels[order]
    model = Network(64)
    params = model.init(jax.random.key(0), pixels[:1])["params"]
    tx = prox_optax.tradamw(1e-2)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    for epoch in range(3 if tiny else 20):
        train = TEST + random.permutation(len(labels) - TEST)
        for rows in train[: 44 * BATCH].reshape(44, BATCH):
            state, logs = train_step(state, pixels[rows], labels[rows])
        logits = state.apply_fn({"params": state.params}, pixels[:TEST])
        right = logits.argmax(axis=-1) == labels[:TEST]
        shown = {**logs, "test accuracy": jnp.mean(right)}
        print(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in shown.items()))


if __name__ == "__main__":
    main(tiny="--tiny" in sys.argv)
