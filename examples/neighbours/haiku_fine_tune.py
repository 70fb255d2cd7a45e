"""`python haiku_fine_tune.py`: fine-tune a Haiku network, and forget less.

Haiku's parameters are a dict of dicts, which optax and this library take as they are.
The network learned digits; now it learns them upside down. Each weight is pulled to its
old value as much as the old images need it (EWC).
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import prox_optax

pixels, labels = load_digits(return_X_y=True)
pixels, labels = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(labels)
old, new = (pixels, labels), (pixels[:, ::-1], labels)
network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([64, 10])(x)))


def loss(params, example):  # the negative log-likelihood of one image
    x, label = example
    return -jax.nn.log_softmax(network.apply(params, x))[label]


def mean_loss(params, batch):
    return jax.vmap(loss, (None, 0))(params, batch).mean()


def accuracy(params, images):
    return jnp.mean(network.apply(params, images[0]).argmax(axis=1) == images[1])


def train(tx, params, images, steps=300):
    @jax.jit
    def step(params, opt_state, batch):
        updates, opt_state = tx.update(
            jax.grad(mean_loss)(params, batch), opt_state, params
        )
        return optax.apply_updates(params, updates), opt_state

    opt_state = tx.init(params)  # the anchor: the parameters as they are now
    for rows in np.random.default_rng(0).integers(len(labels), size=(steps, 32)):
        batch = tuple(x[rows] for x in images)
        params, opt_state = step(params, opt_state, batch)
    return params


params = train(optax.adam(3e-3), network.init(jax.random.key(0), pixels[:1]), old)
fisher = prox_optax.fisher_diagonal(loss, params, old)
strength = jax.tree.map(lambda f: 3000 / 2 * f, fisher)  # lambda / 2 times F
pull = prox_optax.decoupled_proximal(strength, period=None, learning_rate=3e-3)
plain = accuracy(train(optax.adam(3e-3), params, new), old)
kept = accuracy(train(optax.chain(optax.adam(3e-3), pull), params, new), old)
print(f"accuracy on the old images: {plain:.2f} without, {kept:.2f} with the anchor")
assert kept > plain + 0.1
