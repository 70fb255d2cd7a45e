"""`python nnx_lora.py`: LoRA in Flax NNX, pulled back to the pretrained network.

With `wrt=nnx.LoRAParam` the optimizer, and so the anchor, has the factors A and B
alone: two small matrices for each layer. B starts at zero, so the anchor is the
pretrained network itself, and a stronger pull stays nearer to it.
"""

import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

import prox_optax

pixels, labels = load_digits(return_X_y=True)
pixels, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(labels)


def loss(network, x, y):
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(network(x), y)
    return losses.mean()


@nnx.jit
def step(network, optimizer, x, y):
    of = nnx.DiffState(0, optimizer.wrt)
    optimizer.update(network, nnx.grad(loss, argnums=of)(network, x, y))


def train(network, tx, x, wrt, steps=150):
    optimizer = nnx.Optimizer(network, tx, wrt=wrt)
    for _ in range(steps):
        step(network, optimizer, x, labels)
    return optimizer


def fine_tune(strength):
    """Return the accuracy on the old images, before and after, and the distance."""
    rngs = nnx.Rngs(0)
    layers = nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 10, rngs=rngs)
    network = nnx.Sequential(*layers)
    train(network, optax.adam(1e-2), pixels, nnx.Param)
    before = jnp.mean(network(pixels).argmax(axis=1) == labels)
    network.layers[0] = nnx.LoRA(64, 4, 64, base_module=network.layers[0], rngs=rngs)
    pull = prox_optax.decoupled_proximal(strength, period=None, learning_rate=1e-2)
    tx = optax.chain(optax.adam(1e-2), pull)
    optimizer = train(network, tx, pixels[:, ::-1], nnx.LoRAParam)  # upside down
    factors = nnx.state(network, nnx.LoRAParam)
    after = jnp.mean(network(pixels).argmax(axis=1) == labels)
    distance = prox_optax.anchor_distance(optimizer.opt_state, factors).norm
    return float(before), float(after), float(distance)


(before, free, far), (_, pulled, near) = fine_tune(0.0), fine_tune(1.0)
print(f"accuracy on the old images: {before:.2f} before")
print(f"{free:.2f} after, {far:.1f} from the anchor, without a pull")
print(f"{pulled:.2f} after, {near:.1f} from the anchor, with a pull")
assert pulled > free
assert near < far
