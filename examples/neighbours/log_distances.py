"""`python log_distances.py`: the anchor's numbers in Weights & Biases and TensorBoard.

`anchor_distance` and `pull_ratio` give arrays; a logger takes them as floats. Nothing
leaves this machine: W&B runs offline, `wandb sync` sends its folder later.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import wandb
from tensorboardX import SummaryWriter

import prox_optax

STRENGTH = 0.1
tx = optax.chain(prox_optax.proximal(STRENGTH, period=10), optax.sgd(0.1))


@jax.jit
def step(params, opt_state, x):
    grads = jax.grad(lambda p: jnp.mean((x @ p["w"] - 1.0) ** 2))(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    distance = prox_optax.anchor_distance(opt_state, params)
    ratio = prox_optax.pull_ratio(opt_state, params, grads, STRENGTH)
    logs = {"anchor/distance": distance.norm, "anchor/pull over gradient": ratio}
    return optax.apply_updates(params, updates), opt_state, logs


folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
params = {"w": jnp.zeros(3)}
opt_state = tx.init(params)
run = wandb.init(project="anchors", mode="offline", dir=folder)
with run, SummaryWriter(str(folder / "tensorboard")) as board:
    for i, key in enumerate(jax.random.split(jax.random.key(0), 25)):
        batch = jax.random.normal(key, (8, 3))
        params, opt_state, logs = step(params, opt_state, batch)
        numbers = {name: float(value) for name, value in logs.items()}
        run.log(numbers, step=i)
        for name, value in numbers.items():
            board.add_scalar(name, value, i)
files = [str(x.relative_to(folder)) for x in folder.rglob("*") if x.is_file()]
print(f"{numbers} in {folder}")
assert any(name.endswith(".wandb") for name in files), files
assert any("tfevents" in name for name in files), files
assert numbers["anchor/distance"] > 0
