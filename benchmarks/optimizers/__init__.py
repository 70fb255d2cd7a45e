"""The optimizers that are compared."""
