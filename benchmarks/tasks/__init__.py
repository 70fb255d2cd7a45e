"""What is trained: a module a task, each with its own losses and measures.

A new task is a module here with a `problem.Problem`, and one in benchmarks/experiments
with the numbers of its experiments. Nothing else has to know of it.
"""
