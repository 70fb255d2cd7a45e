"""`python keras_fit.py`: any optax optimizer in Keras' `model.fit`, on JAX.

The adapter keeps the optimizer's state in Keras variables, so that `fit` carries it
along and `model.save_weights` saves it.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import optax
from sklearn.datasets import load_digits

import prox_optax


class Optax(keras.optimizers.Optimizer):
    """An optax optimizer as one of Keras'; the learning rate is optax's own."""

    def __init__(self, tx, name="optax"):
        super().__init__(learning_rate=1.0, name=name)
        self.tx = tx

    def build(self, variables):
        super().build(variables)
        leaves, self.structure = jax.tree.flatten(
            self.tx.init([v.value for v in variables])
        )
        self.leaves = [self.add_variable(x.shape, dtype=x.dtype) for x in leaves]
        for variable, value in zip(self.leaves, leaves, strict=True):
            variable.assign(value)

    @property
    def state(self):
        return jax.tree.unflatten(self.structure, [v.value for v in self.leaves])

    def apply(self, grads, trainable_variables=None):
        variables = self._trainable_variables
        params = [v.value for v in variables]
        updates, state = self.tx.update(grads, self.state, params)
        new = [*optax.apply_updates(params, updates), *jax.tree.leaves(state)]
        for variable, value in zip([*variables, *self.leaves], new, strict=True):
            variable.assign(value)
        self.iterations.assign_add(1)


keras.utils.set_random_seed(0)
pixels, labels = load_digits(return_X_y=True)
layers = keras.layers.Dense(64, "relu"), keras.layers.Dense(10)
model = keras.Sequential([keras.Input((64,)), *layers])
model.compile(
    Optax(prox_optax.tradam(1e-2)),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(pixels / 16, labels, batch_size=32, epochs=5, verbose=0).history
distance = prox_optax.anchor_distance(
    model.optimizer.state, [v.value for v in model.trainable_variables]
)
accuracy = history["accuracy"][-1]
print(f"accuracy {accuracy:.2f}, {distance.relative:.4f} from the anchor")
assert accuracy > 0.9
assert int(model.optimizer.iterations) == 5 * 57
assert distance.relative > 0
