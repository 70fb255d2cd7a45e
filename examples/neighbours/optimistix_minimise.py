"""`python optimistix_minimise.py`: a regularised least-squares fit by optimistix.

`optimistix.OptaxMinimiser` takes an optax optimizer. With the anchor at a prior guess
a, plain gradient descent has its fixed point at the minimum of

    1 / 2 ||A x - b||^2 + lam ||x - a||^2,  which is (A'A + 2 lam I)^-1 (A'b + 2 lam a).
"""

import jax
import jax.numpy as jnp
import optax
import optimistix

import prox_optax

A = jax.random.normal(jax.random.key(0), (3, 5))  # fewer equations than unknowns
b, guess, lam = jnp.ones(3), jnp.arange(5.0), 0.3


def loss(x, args):
    return jnp.sum((A @ x - b) ** 2) / 2


tx = optax.chain(prox_optax.proximal(lam, period=None), optax.sgd(0.05))
solver = optimistix.OptaxMinimiser(tx, rtol=1e-6, atol=1e-6)
found = optimistix.minimise(loss, solver, guess, max_steps=5000)  # starts at the anchor
exact = jnp.linalg.solve(A.T @ A + 2 * lam * jnp.eye(5), A.T @ b + 2 * lam * guess)
error = jnp.max(jnp.abs(found.value - exact))
print(f"{int(found.stats['num_steps'])} steps, {error:.1e} from the closed form")
assert error < 1e-3
distance = prox_optax.anchor_distance(found.state.opt_state, found.value)
assert jnp.allclose(distance.norm, jnp.linalg.norm(found.value - guess))
