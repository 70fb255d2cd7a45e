"""`python examples/train_linen.py`: an ordinary Linen script, optimizer swapped.

Where it said `optax.adamw(3e-3)` it says `prox_optax.tradamw(1e-2)`: the inner decay
lowers the mean rate to 0.293 of it. The TrainState is donated to the step, so that it
makes no second copy of the parameters, the moments or the anchor.
"""

import jax
import numpy as np
import typer
from digits import Images, correct, cross_entropy, load
from flax import linen as nn
from flax.training.train_state import TrainState

import prox_optax

BATCH = 32


class Network(nn.Module):
    """Pixels -> hidden -> logits."""

    hidden: int
    classes: int = 10

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Logits, shape (batch, classes)."""
        return nn.Dense(self.classes)(nn.relu(nn.Dense(self.hidden)(pixels)))


@jax.jit(donate_argnums=0)
def train_step(
    state: TrainState, batch: Images
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the next state, and what to log of the step."""

    def loss_of(params: dict[str, jax.Array]) -> jax.Array:
        logits = state.apply_fn({"params": params}, batch.pixels)
        return cross_entropy(logits, batch.labels)

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    state = state.apply_gradients(grads=grads)
    distance = prox_optax.anchor_distance(state.opt_state, state.params)
    return state, {"loss": loss, "anchor distance": distance.relative}


def main(tiny: bool = False) -> None:
    """Train on scikit-learn's digits and print the test accuracy."""
    train, _, test = load()
    model = Network(64)
    params = model.init(jax.random.key(0), train.pixels[:1])["params"]
    tx = prox_optax.tradamw(1e-2)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    order = np.random.default_rng(0)
    for epoch in range(3 if tiny else 20):
        batches = order.permutation(len(train.labels))[: 44 * BATCH].reshape(44, BATCH)
        for rows in batches:
            state, logs = train_step(state, Images(*(x[rows] for x in train)))
        logits = state.apply_fn({"params": state.params}, test.pixels)
        shown = {**logs, "test accuracy": correct(logits, test.labels)}
        print(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in shown.items()))


if __name__ == "__main__":
    typer.run(main)
