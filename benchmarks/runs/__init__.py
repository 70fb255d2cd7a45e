"""From an experiment to its files: compile, train, checkpoint, write."""
