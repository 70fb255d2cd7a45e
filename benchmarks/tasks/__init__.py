"""What is trained, a module a task, each with its own measures."""
