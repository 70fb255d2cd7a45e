"""`python gymnax_dqn.py`: DQN in the manner of purejaxrl, the anchor as target network.

All of training is one `lax.scan` on the device. There is no `target_network_params` to
keep and to copy: the target is the anchor, which moves to the parameters every `period`
updates, and `get_anchor` reads it. The pull that holds the network near its target is
DQN Pro's (arXiv 2112.05848); `lambda_w=0` is DQN.
"""

import gymnax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import prox_optax

ENVS, BATCH, CAPACITY, UPDATES = 8, 64, 10_000, 3000
KINDS = ((4,), float), ((), int), ((), float), ((), float), ((4,), float)
env, _ = gymnax.make("CartPole-v1")


class QNetwork(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.relu(nn.Dense(64)(x)))


def loss(params, target, batch):
    obs, action, reward, done, next_obs = batch
    q = jnp.take_along_axis(network.apply(params, obs), action[:, None], 1)[:, 0]
    goal = reward + 0.99 * (1 - done) * network.apply(target, next_obs).max(axis=1)
    return optax.losses.huber_loss(q, goal).mean()


network = QNetwork()
tx = optax.chain(
    optax.adam(4e-3), prox_optax.decoupled_proximal(lambda_w=0.05, period=20)
)


@jax.jit
def train(key):
    """Return how long the episodes were, in each update."""
    init_key, env_key, key = jax.random.split(key, 3)
    params = network.init(init_key, jnp.zeros(4))
    obs, env_state = jax.vmap(env.reset)(jax.random.split(env_key, ENVS))

    def update(carry, t):
        params, opt_state, memory, obs, env_state, lengths = carry
        keys = jax.random.split(jax.random.fold_in(key, t), 4)
        greedy = network.apply(params, obs).argmax(axis=1)
        explore = jax.random.uniform(keys[0], (ENVS,)) < jnp.maximum(1 - t / 500, 0.05)
        action = jnp.where(explore, jax.random.randint(keys[1], (ENVS,), 0, 2), greedy)
        time = env_state.time + 1
        next_obs, env_state, _, terminated, truncated, info = jax.vmap(env.step)(
            jax.random.split(keys[2], ENVS), env_state, action
        )
        end = 1.0 * terminated  # the reward is -1 at a fall
        seen = obs, action, -end, end, info["final_observation"]
        at = t * ENVS % CAPACITY + jnp.arange(ENVS)
        memory = [kept.at[at].set(x) for kept, x in zip(memory, seen, strict=True)]
        rows = jax.random.randint(
            keys[3], (BATCH,), 0, jnp.minimum((t + 1) * ENVS, CAPACITY)
        )
        target = prox_optax.get_anchor(opt_state, params)
        grads = jax.grad(loss)(params, target, [x[rows] for x in memory])
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        lengths = jnp.where(terminated | truncated, time, lengths)
        return (params, opt_state, memory, next_obs, env_state, lengths), lengths.mean()

    memory = [jnp.zeros((CAPACITY, *shape), dtype) for shape, dtype in KINDS]
    start = params, tx.init(params), memory, obs, env_state, jnp.zeros(ENVS, jnp.int32)
    return jax.lax.scan(update, start, jnp.arange(UPDATES))[1]


lengths = train(jax.random.key(0))
first, last = lengths[:500].mean(), lengths[-500:].mean()
print(f"steps of an episode: {first:.0f} at first, {last:.0f} at last")
assert last > 3 * first
