"""`python orbax_grain.py`: go on exactly from a checkpoint with its place in the data.

Orbax saves parameters, optimizer state (the anchor and its step among it) and the
position of a Grain iterator. The run that was cut in two ends where the other does, bit
by bit.
"""

import tempfile

import grain.python as grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_digits

import prox_optax

pixels, labels = load_digits(return_X_y=True)
examples = list(
    zip((pixels / 16).astype("float32"), labels.astype("int32"), strict=True)
)
data = grain.MapDataset.source(examples).seed(0).shuffle().repeat().batch(32)
tx = prox_optax.tradam(1e-2, period=7)


@jax.jit
def step(params, opt_state, batch):
    def loss(params):
        logits = batch[0] @ params["w"] + params["b"]
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            logits, batch[1]
        )
        return losses.mean()

    updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def train(params, opt_state, batches, steps):
    for _ in range(steps):
        params, opt_state = step(params, opt_state, next(batches))
    return params, opt_state


def start():
    params = {"w": np.zeros((64, 10), "float32"), "b": np.zeros(10, "float32")}
    return params, tx.init(params), iter(data.to_iter_dataset())


params, opt_state, batches = start()
whole = train(params, opt_state, batches, 100)

params, opt_state, batches = start()
part = train(params, opt_state, batches, 40)  # 40 is within a period of 7
with ocp.CheckpointManager(tempfile.mkdtemp()) as manager:
    manager.save(
        40,
        args=ocp.args.Composite(
            train=ocp.args.StandardSave(part), data=grain.PyGrainCheckpointSave(batches)
        ),
    )
    manager.wait_until_finished()
    params, opt_state, batches = start()
    restored = manager.restore(
        40,
        args=ocp.args.Composite(
            train=ocp.args.StandardRestore((params, opt_state)),
            data=grain.PyGrainCheckpointRestore(batches),
        ),
    )
resumed = train(*restored["train"], batches, 60)
same = jax.tree.map(np.array_equal, whole, resumed)
print(f"{sum(jax.tree.leaves(same))} of {len(jax.tree.leaves(same))} arrays are equal")
assert jax.tree.all(same)
