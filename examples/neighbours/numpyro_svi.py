"""`python numpyro_svi.py`: SVI that goes on from the posterior of older data.

numpyro takes an optax optimizer. New observations move the variational parameters,
pulled to those that the older ones led to. The anchor is compared with the
unconstrained parameters, `svi.optim.get_params`, which are what SVI optimises.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

import prox_optax


def model(data):
    mean = numpyro.sample("mean", dist.Normal(0, 10))
    scale = numpyro.sample("scale", dist.HalfNormal(10))
    with numpyro.plate("data", len(data)):
        numpyro.sample("x", dist.Normal(mean, scale), obs=data)


def fit(tx, data, params=None):
    """Return the unconstrained parameters, and the optimizer's state."""
    svi = SVI(model, AutoNormal(model), tx, Trace_ELBO())
    result = svi.run(
        jax.random.key(1), 2000, data, progress_bar=False, init_params=params
    )
    state = result.state.optim_state
    return result.params, svi.optim.get_params(state), state


def mean(params):
    return float(params["mean_auto_loc"])


old = 3 + jax.random.normal(jax.random.key(2), (200,))
new = 5 + jax.random.normal(jax.random.key(3), (5,))
start, _, _ = fit(optax.adam(0.01), old)
free, _, _ = fit(optax.adam(0.01), new, start)
pull = prox_optax.decoupled_proximal(50.0, period=None, learning_rate=0.01)
held, params, opt_state = fit(optax.chain(optax.adam(0.01), pull), new, start)
distance = prox_optax.anchor_distance(opt_state, params).norm
print(f"mean: {mean(start):.2f}, {mean(free):.2f} free, {mean(held):.2f} pulled")
print(f"{distance:.2f} from the anchor")
assert abs(mean(held) - mean(start)) < abs(mean(free) - mean(start)) / 2
assert 0 < distance < jnp.inf
