"""What it costs: bytes, seconds and memory, of updates, steps and whole runs."""
