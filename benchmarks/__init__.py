"""Benchmarks of prox_optax: `python -m benchmarks list` names them."""
