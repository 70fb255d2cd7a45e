"""`python tunix_peft.py`: the anchor in tunix' PeftTrainer, gradients accumulated.

The trainer wraps an optax optimizer in `optax.MultiSteps`; `set_anchor` and
`anchor_distance` find the anchor in there. A step of the anchor is an update of the
weights, not one of the gradients that are accumulated: training on halves of a batch
ends where a plain loop on whole batches does.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

import prox_optax

random = np.random.default_rng(0)
batches = [random.normal(size=(2, 16, 8)).astype("float32") for _ in range(20)]
parts = slice(8), slice(8, 16)
halves = [{"x": x[part], "y": y[part]} for x, y in batches for part in parts]
pull = prox_optax.decoupled_proximal(0.5, period=None, learning_rate=1e-2)
tx = optax.chain(optax.adam(1e-2), pull)


def loss(network, x, y):
    return jnp.mean((network(x) - y) ** 2)


def network():
    """Return a layer with LoRA; its factor B is not zero, as after some training."""
    rngs = nnx.Rngs(0)
    base, normal = nnx.Linear(8, 8, rngs=rngs), nnx.initializers.normal(0.1)
    return nnx.LoRA(8, 2, 8, base_module=base, b_initializer=normal, rngs=rngs)


tuned = network()
config = TrainingConfig(
    eval_every_n_steps=1000, gradient_accumulation_steps=2, max_steps=len(batches)
)
trainer = PeftTrainer(tuned, tx, config).with_loss_fn(loss)
start = nnx.state(tuned, nnx.LoRAParam)
anchor = jax.tree.map(jnp.zeros_like, start)  # the pretrained layer, without LoRA
trainer.optimizer.opt_state = prox_optax.set_anchor(trainer.optimizer.opt_state, anchor)
trainer.train(halves)
params = nnx.state(tuned, nnx.LoRAParam)
distance = prox_optax.anchor_distance(trainer.optimizer.opt_state, params).norm

plain = network()
optimizer = nnx.Optimizer(plain, tx, wrt=nnx.LoRAParam)
optimizer.opt_state = prox_optax.set_anchor(optimizer.opt_state, anchor)
for x, y in batches:
    of = nnx.DiffState(0, nnx.LoRAParam)
    optimizer.update(plain, nnx.grad(loss, argnums=of)(plain, x, y))
expected = optax.tree.norm(nnx.state(plain, nnx.LoRAParam))
print(f"{distance:.6f} from the pretrained layer; a plain loop: {expected:.6f}")
assert jnp.allclose(distance, expected, rtol=1e-4)
