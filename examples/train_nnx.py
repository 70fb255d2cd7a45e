"""`python examples/train_nnx.py`: an ordinary NNX script, optimizer swapped.

Where it said `optax.adamw(3e-3)` it says `prox_optax.tradamw(1e-2)`: the inner decay
lowers the mean rate to 0.293 of it. The model and the optimizer are donated to the
step, so that it makes no second copy of the parameters, the moments or the anchor.
"""

import jax
import numpy as np
import typer
from digits import Images, Network, correct, cross_entropy, load
from flax import nnx

import prox_optax

BATCH = 32


@nnx.jit(donate_argnums=(0, 1))
def train_step(
    model: Network, optimizer: nnx.Optimizer[Network], batch: Images
) -> dict[str, jax.Array]:
    """One update in place, and what to log of it."""

    def loss_of(model: Network) -> jax.Array:
        return cross_entropy(model(batch.pixels), batch.labels)

    loss, grads = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, grads)
    params = nnx.state(model, nnx.Param)
    distance = prox_optax.anchor_distance(optimizer.opt_state, params)
    return {"loss": loss, "anchor distance": distance.relative}


def main(tiny: bool = False) -> None:
    """Train on scikit-learn's digits and print the test accuracy."""
    train, _, test = load()
    model = Network(64, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, prox_optax.tradamw(1e-2), wrt=nnx.Param)
    order = np.random.default_rng(0)
    for epoch in range(3 if tiny else 20):
        batches = order.permutation(len(train.labels))[: 44 * BATCH].reshape(44, BATCH)
        for rows in batches:
            logs = train_step(model, optimizer, Images(*(x[rows] for x in train)))
        score = correct(model(test.pixels), test.labels)
        shown = {**logs, "test accuracy": score}
        print(f"epoch {epoch}: " + ", ".join(f"{k} {v:.4f}" for k, v in shown.items()))


if __name__ == "__main__":
    typer.run(main)
