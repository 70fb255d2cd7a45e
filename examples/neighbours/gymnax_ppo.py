"""`python gymnax_ppo.py`: PPO in the manner of purejaxrl, the anchor as the old policy.

PPO compares the policy with the one that acted. That one is the anchor: `set_anchor`
after each rollout, `get_anchor` for its probabilities, so that no log-probability is
stored. The pull keeps the new policy near to it, beside PPO's clipping.
"""

import gymnax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

import prox_optax

ENVS, STEPS, ITERATIONS, EPOCHS, PARTS = 16, 64, 60, 4, 4
DISCOUNT, LAMBDA, CLIP = 0.99, 0.95, 0.2
env, _ = gymnax.make("CartPole-v1")


class ActorCritic(nn.Module):
    @nn.compact
    def __call__(self, x):
        actor, critic = nn.tanh(nn.Dense(64)(x)), nn.tanh(nn.Dense(64)(x))
        return jax.nn.log_softmax(nn.Dense(2)(actor)), nn.Dense(1)(critic)[..., 0]


network = ActorCritic()
tx = optax.chain(
    optax.clip_by_global_norm(0.5),
    optax.adam(2.5e-3),
    prox_optax.decoupled_proximal(lambda_w=1.0, period=None, learning_rate=2.5e-3),
)


def act(carry, key):
    """Take one step in each environment."""
    params, obs, env_state, lengths = carry
    keys = jax.random.split(key, ENVS + 1)
    log_p, value = network.apply(params, obs)
    action = jax.random.categorical(keys[0], log_p)
    time = env_state.time + 1
    next_obs, env_state, reward, terminated, truncated, _ = jax.vmap(env.step)(
        keys[1:], env_state, action
    )
    done = terminated | truncated
    lengths = jnp.where(done, time, lengths)
    return (params, next_obs, env_state, lengths), (obs, action, reward, done, value)


def advantages(rollout, last_value):
    """Generalised advantage estimation."""

    def back(carry, at):
        advantage, next_value = carry
        reward, done, value = at
        delta = reward + DISCOUNT * next_value * (1 - done) - value
        advantage = delta + DISCOUNT * LAMBDA * (1 - done) * advantage
        return (advantage, value), advantage

    _, _, reward, done, value = rollout
    start = jnp.zeros(ENVS), last_value
    return jax.lax.scan(back, start, (reward, done, value), reverse=True)[1]


def loss(params, old, obs, action, advantage, goal):
    """Return PPO's clipped loss, with that of the value and the entropy."""
    log_p, value = network.apply(params, obs)
    old_log_p, _ = network.apply(old, obs)
    chosen = jnp.take_along_axis(log_p - old_log_p, action[:, None], 1)[:, 0]
    ratio, advantage = jnp.exp(chosen), advantage / (advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=1)
    actor = -jnp.minimum(ratio * advantage, clipped) - 0.01 * entropy
    return jnp.mean(actor + 0.5 * (value - goal) ** 2)


def learn(carry, rows, batch):
    """Update the parameters once."""
    params, opt_state = carry
    old = prox_optax.get_anchor(opt_state, params)
    grads = jax.grad(loss)(params, old, *(x[rows] for x in batch))
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), None


def iterate(carry, key):
    """Act, then learn from what was seen."""
    params, opt_state, obs, env_state, lengths = carry
    act_key, order_key = jax.random.split(key)
    opt_state = prox_optax.set_anchor(opt_state, params)  # the policy that acts
    (_, obs, env_state, lengths), rollout = jax.lax.scan(
        act, (params, obs, env_state, lengths), jax.random.split(act_key, STEPS)
    )
    advantage = advantages(rollout, network.apply(params, obs)[1])
    batch = (*rollout[:2], advantage, advantage + rollout[4])
    batch = [x.reshape(ENVS * STEPS, *x.shape[2:]) for x in batch]
    orders = [
        jax.random.permutation(k, ENVS * STEPS).reshape(PARTS, -1)
        for k in jax.random.split(order_key, EPOCHS)
    ]
    (params, opt_state), _ = jax.lax.scan(
        lambda c, rows: learn(c, rows, batch),
        (params, opt_state),
        jnp.concatenate(orders),
    )
    distance = prox_optax.anchor_distance(opt_state, params).norm
    return (params, opt_state, obs, env_state, lengths), (lengths.mean(), distance)


@jax.jit
def train(key):
    """Return how long the episodes were, and the distances from the old policies."""
    keys = jax.random.split(key, ENVS + 2)
    params = network.init(keys[0], jnp.zeros(4))
    obs, env_state = jax.vmap(env.reset)(keys[2:])
    start = params, tx.init(params), obs, env_state, jnp.zeros(ENVS, jnp.int32)
    return jax.lax.scan(iterate, start, jax.random.split(keys[1], ITERATIONS))[1]


lengths, distances = train(jax.random.key(0))
print(f"steps of an episode: {lengths[5]:.0f} at first, {lengths[-1]:.0f} at last")
print(f"{distances.mean():.2f} from the policy that acted, on average")
assert lengths[-1] > 3 * lengths[5]
assert distances.min() > 0
