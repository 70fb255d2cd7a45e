"""`python keras_stateless.py`: a Keras model in a training loop of JAX.

`stateless_call` makes a function of the model; its trainable variables are a list of
arrays, which the optimizer and the anchor take as they are.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from sklearn.datasets import load_digits

import prox_optax

keras.utils.set_random_seed(0)
pixels, labels = load_digits(return_X_y=True)
pixels = (pixels / 16).astype("float32")
layers = keras.layers.Dense(64, "relu"), keras.layers.Dense(10)
model = keras.Sequential([keras.Input((64,)), *layers])
tx = prox_optax.tradam(1e-2)


def loss(params, fixed, x, y):
    logits, fixed = model.stateless_call(params, fixed, x, training=True)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean(), fixed


@jax.jit
def step(params, fixed, opt_state, x, y):
    grads, fixed = jax.grad(loss, has_aux=True)(params, fixed, x, y)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    distance = prox_optax.anchor_distance(opt_state, params).relative
    return params, fixed, opt_state, distance


params = [v.value for v in model.trainable_variables]
fixed = [v.value for v in model.non_trainable_variables]
opt_state = tx.init(params)
for rows in np.random.default_rng(0).integers(len(labels), size=(300, 32)):
    params, fixed, opt_state, distance = step(
        params, fixed, opt_state, pixels[rows], labels[rows]
    )
for variable, value in zip(model.trainable_variables, params, strict=True):
    variable.assign(value)  # and the model is Keras' again
accuracy = jnp.mean(model(pixels).argmax(axis=1) == labels)
print(f"accuracy {accuracy:.2f}, {distance:.4f} from the anchor")
assert accuracy > 0.9
assert distance > 0
