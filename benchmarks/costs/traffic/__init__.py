"""The memory traffic of one update, read off the program a compiler makes of it."""
