"""The training loop, which knows nothing of any task."""
