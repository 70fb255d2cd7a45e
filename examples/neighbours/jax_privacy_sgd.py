"""`python jax_privacy_sgd.py`: the anchor behind jax-privacy's private gradient.

jax-privacy clips each example's gradient and adds noise. The anchor stands behind the
noise and sees private values alone, so it costs no privacy (post-processing). Here it
is the average of the parameters, which the noise moves less; a strength above 0 would
also pull to it.
"""

import jax
import jax.numpy as jnp
import jax_privacy
import numpy as np
import optax
from jax_privacy.noise_addition import gaussian_privatizer
from sklearn.datasets import load_digits

import prox_optax

BATCH, MULTIPLIER = 64, 4.0
pixels, labels = load_digits(return_X_y=True)
pixels = jnp.asarray(pixels / 16, jnp.float32)


def loss(params, x, y):
    logits = x @ params
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


clipped = jax_privacy.clipped_grad(
    loss, l2_clip_norm=1.0, batch_argnums=(1, 2), normalize_by=BATCH
)
noise = MULTIPLIER * clipped.sensitivity()  # 1 / BATCH: clipped to norm 1, averaged
privatizer = gaussian_privatizer(stddev=noise, prng_key=jax.random.key(0))


average = prox_optax.proximal(0.0, period=1, anchor_step=0.02)
tx = optax.chain(privatizer, average, optax.sgd(2.0))


@jax.jit
def step(params, opt_state, x, y):
    updates, opt_state = tx.update(clipped(params, x, y), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def accuracy(params):
    return jnp.mean((pixels @ params).argmax(axis=1) == labels)


params = jnp.zeros((64, 10))
opt_state = tx.init(params)
for rows in np.random.default_rng(0).integers(len(labels), size=(300, BATCH)):
    params, opt_state = step(params, opt_state, pixels[rows], labels[rows])
last = accuracy(params)
anchor = accuracy(prox_optax.get_anchor(opt_state, params))
print(f"accuracy: {last:.3f} the last parameters, {anchor:.3f} their average")
assert anchor > last
