"""`python examples/dqn_pro.py`: DQN with a pull towards the target network.

DQN Pro (Asadi et al., arXiv 2112.05848) against DQN on gymnax's CartPole-v1, reward -1
at a fall, at four periods of the target network theta. With the online network w, the
learning rate alpha and the paper's c:

    w <- (1 - rho) w + rho theta - alpha grad,    rho = alpha / c

The anchor IS the target network: it moves to w every `period` updates, and is read from
the optimizer's state. With SGD this is `proximal(1 / (2 * c), period)`. With Adam's
step for the gradient's it is `decoupled_proximal`, whose step (u - r (w - a)) / (1 + r)
is the paper's for r = rho / (1 - rho) and u at the learning rate alpha / (1 - rho).
DQN is rho = 0. The anchor moves within an update: the first gradient of each period is
the last that sees the old target.
"""

from functools import partial
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import optax
import report
import typer
from flax import nnx
from tuning import choices_at, grid, outcomes, tune_then_test

from prox_optax import decoupled_proximal

ENV = gymnax.make("CartPole-v1")[0]
ENVS, BATCH, CAPACITY, DISCOUNT = 8, 64, 10_000, 0.99
PERIODS, MEASURE = (5, 10, 20, 40), "episode length over the whole training / steps"
METHODS = {  # learning rate alpha and pull rho, as many points for each
    "DQN": grid(alpha=(1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3)),
    "DQN Pro": grid(alpha=(8e-3, 16e-3), rho=(0.01, 0.1, 0.3)),
}


def dqn_pro(alpha, rho, period):
    """Adam, and the paper's pull towards the target network."""
    pull = decoupled_proximal(rho / (1 - rho) / 2, period)
    return optax.chain(optax.adam(alpha / (1 - rho)), pull)


def loss(params, target, graph, batch):
    obs, action, reward, end, next_obs = batch
    q = jnp.take_along_axis(nnx.merge(graph, params)(obs), action[:, None], 1)[:, 0]
    next_q = nnx.merge(graph, target)(next_obs).max(axis=1)
    return optax.losses.huber_loss(q, reward + DISCOUNT * (1 - end) * next_q).mean()


def act(network, obs, state, epsilon, key):
    """One step of every environment: (s, a, r, end, s') and what comes next."""
    explore, pick, move = jax.random.split(key, 3)
    random = jax.random.randint(pick, (ENVS,), 0, 2)
    greedy = network(obs).argmax(axis=1).astype(random.dtype)
    action = jnp.where(jax.random.uniform(explore, (ENVS,)) < epsilon, random, greedy)
    next_obs, state, _, terminated, truncated, info = jax.vmap(ENV.step)(
        jax.random.split(move, ENVS), state, action
    )
    end = terminated.astype(jnp.float32)
    seen = obs, action, -end, end, info["final_observation"]
    return seen, next_obs, state, terminated | truncated


def train(updates, alpha, rho, period, seed):
    """Length of the last finished episodes, mean over training."""
    tx = dqn_pro(alpha, rho, period)
    init_key, env_key, key = jax.random.split(jax.random.key(seed), 3)
    rngs = nnx.Rngs(init_key)
    layers = nnx.Linear(4, 64, rngs=rngs), nnx.relu, nnx.Linear(64, 2, rngs=rngs)
    graph, params = nnx.split(nnx.Sequential(*layers))
    obs, state = jax.vmap(ENV.reset)(jax.random.split(env_key, ENVS))

    def step(carry, t):
        params, opt_state, memory, obs, state, lengths = carry
        act_key, sample_key = jax.random.split(jax.random.fold_in(key, t))
        epsilon = jnp.clip(1 - 5 * t / updates, 0.05, 1)
        now = state.time + 1
        network = nnx.merge(graph, params)
        seen, obs, state, done = act(network, obs, state, epsilon, act_key)
        at = t * ENVS % CAPACITY
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=at, axis=0)
        memory = jax.tree.map(put, memory, seen)
        filled = jnp.minimum((t + 1) * ENVS, CAPACITY)
        index = jax.random.randint(sample_key, (BATCH,), 0, filled)
        target = optax.tree.get(opt_state, "anchor")
        grads = jax.grad(loss)(params, target, graph, [x[index] for x in memory])
        steps, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, steps)
        lengths = jnp.where(done, now, lengths)
        return (params, opt_state, memory, obs, state, lengths), lengths.mean()

    seen = act(nnx.merge(graph, params), obs, state, 1.0, key)[0]
    memory = tuple(jnp.zeros((CAPACITY, *x.shape[1:]), x.dtype) for x in seen)
    carry = params, tx.init(params), memory, obs, state, jnp.zeros(ENVS, jnp.int32)
    return jax.lax.scan(step, carry, jnp.arange(updates))[1].mean()


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune each method at each period, then compare them on other seeds."""
    updates, n = (20, 1) if tiny else (2000, 3)
    run = jax.jit(jax.vmap(partial(train, updates)))
    tune = partial(tune_then_test, run, run, METHODS, range(n), 100, rho=0.0)
    tuned = {f"period {x}": tune(period=x) for x in PERIODS}
    scores = {period: outcomes(t) for period, t in tuned.items()}
    best = {}
    for name in METHODS:
        period = max(tuned, key=lambda period: tuned[period][name].validation.max())
        best[f"{name}, {period}"] = scores[period][name]
    tables = {**scores, "Each at the period that tuned best": best}
    text = (
        f"{report.comparisons(MEASURE, tables)}\n{choices_at(tuned)}\n"
        f"{updates} updates of {ENVS} steps; tuned on {n} seeds, compared on others; "
        "the intervals are not corrected for their number. With each method at its "
        f"best period, in steps an episode, {report.verdict(best, *reversed(best))} "
        f"At period 5, {report.verdict(scores['period 5'], 'DQN Pro', 'DQN')}\n"
    )
    figure = report.draw_levels(scores, "target network's period / updates", MEASURE)
    report.show("dqn_pro", text, figure, out, tiny)


if __name__ == "__main__":
    typer.run(main)
