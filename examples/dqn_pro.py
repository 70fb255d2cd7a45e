"""`python examples/dqn_pro.py`: DQN with a pull towards the target network.

DQN Pro (Asadi et al., arXiv 2112.05848) against DQN on gymnax's CartPole-v1, with the
reward -1 at a fall, at four intervals between moves of the target network. With w the
online network, theta the target network, alpha the learning rate and c the paper's:

    w <- (1 - rho) w + rho theta - alpha grad,    rho = alpha / c

The anchor IS the target network: it moves to w every `period` updates, and is read from
the optimizer's state. With SGD this is `proximal(1 / (2 * c), period)`. With Adam's
step for the gradient's it is `decoupled_proximal`, whose step (u - r (w - a)) / (1 + r)
is the paper's for r = rho / (1 - rho) and u at the learning rate alpha / (1 - rho).
DQN is rho = 0. The anchor moves within an update, when the gradient is already known:
the first gradient of each period is the last that sees the old target.
"""

from functools import partial
from itertools import product
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
import typer
from flax import nnx
from matplotlib.figure import Figure

from prox_optax import decoupled_proximal

ENV = gymnax.make("CartPole-v1")[0]
ENVS, BATCH, CAPACITY, DISCOUNT = 8, 64, 10_000, 0.99
PERIODS = (5, 10, 20, 40)
MEASURE = "episode length over the whole training / steps"
# Learning rate alpha and pull rho: as many points for each, set on tuning seeds.
GRIDS = {
    "DQN": list(product((1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3), (0.0,))),
    "DQN Pro": list(product((8e-3, 16e-3), (0.01, 0.1, 0.3))),
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
        place = partial(jax.lax.dynamic_update_slice_in_dim, axis=0)
        memory = [
            place(m, x, t * ENVS % CAPACITY) for m, x in zip(memory, seen, strict=True)
        ]
        filled = jnp.minimum((t + 1) * ENVS, CAPACITY)
        index = jax.random.randint(sample_key, (BATCH,), 0, filled)
        target = optax.tree.get(opt_state, "anchor")
        grads = jax.grad(loss)(params, target, graph, [m[index] for m in memory])
        steps, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, steps)
        lengths = jnp.where(done, now, lengths)
        return (params, opt_state, memory, obs, state, lengths), lengths.mean()

    seen = act(nnx.merge(graph, params), obs, state, 1.0, key)[0]
    memory = [jnp.zeros((CAPACITY, *x.shape[1:]), x.dtype) for x in seen]
    carry = params, tx.init(params), memory, obs, state, jnp.zeros(ENVS, jnp.int32)
    return jax.lax.scan(step, carry, jnp.arange(updates))[1].mean()


@partial(jax.jit, static_argnums=0)
def train_lanes(updates, lanes):
    return jax.vmap(partial(train, updates))(*lanes)


def scores(updates, points, period, seeds):
    """Shape (methods, points of each, seeds), trained side by side."""
    lanes = [(*point, period, seed) for point in points for seed in seeds]
    lanes = tuple(map(jnp.asarray, zip(*lanes, strict=True)))
    return np.asarray(train_lanes(updates, lanes)).reshape(len(GRIDS), -1, len(seeds))


def plot(final):
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, method in enumerate(GRIDS):
        error = final[:, i].std(axis=1, ddof=1) / np.sqrt(final.shape[2])
        x = np.array(PERIODS) * 1.03**i
        axes.errorbar(x, final[:, i].mean(axis=1), error, None, "o-", label=method)
    axes.set_xscale("log", base=2)
    axes.set_xticks(PERIODS, PERIODS)
    axes.set_xlabel("target network's period / updates")
    axes.set_ylabel(f"{MEASURE}\n(mean +- standard error)")
    axes.legend()
    return figure


def verdict(comparison):
    """What the last row's difference to the baseline says."""
    difference = comparison.splitlines()[-1].split("|")[3].strip()
    if difference.endswith("equal"):
        return f"not told apart, {difference.removesuffix(', equal')}"
    return f"{'longer' if difference[0] == '+' else 'shorter'}, {difference}"


def main(tiny: bool = False, out: Path = Path("results/examples")) -> None:
    """Tune each method at each period, then compare them on other seeds."""
    updates, n = (20, 1) if tiny else (2000, 3)
    grids = list(GRIDS.values())
    fresh = range(100, 100 + n * len(grids[0]))  # as many lanes: compiled once
    tuned, final, tables = [], [], []
    for period in PERIODS:
        means = scores(
            updates, [point for grid in grids for point in grid], period, range(n)
        ).mean(axis=2)
        best = [grid[i] for grid, i in zip(grids, means.argmax(axis=1), strict=True)]
        tuned.append(means.max(axis=1))
        final.append(scores(updates, best, period, fresh)[:, 0])
        names = [
            f"{m}, rate {a:g}, pull {r:g}"
            for m, (a, r) in zip(GRIDS, best, strict=True)
        ]
        rows = dict(zip(names, final[-1], strict=True))
        tables.append(report.comparison(f"Period {period}", MEASURE, rows))
    best = np.argmax(tuned, axis=0)
    final = np.array(final)
    rows = {
        f"{m}, {PERIODS[b]}": final[b, i]
        for i, (m, b) in enumerate(zip(GRIDS, best, strict=True))
    }
    tables.append(
        report.comparison("Each at the period that tuned best", MEASURE, rows)
    )
    short, *_, overall = map(verdict, tables)
    tables.append(
        f"{updates} updates of {ENVS} steps; tuned on {n} seeds, compared on others; "
        "the intervals are not corrected for their number. With the pull, and each "
        f"method at its best period, episodes are against DQN's {overall} steps; where "
        f"the target moves every {PERIODS[0]} updates: {short} steps.\n"
    )
    command = "python examples/dqn_pro.py"
    report.show("dqn_pro", command, "\n".join(tables), plot(final), out)


if __name__ == "__main__":
    typer.run(main)
