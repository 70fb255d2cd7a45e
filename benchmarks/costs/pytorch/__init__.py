"""The same training in PyTorch, to compare with."""
