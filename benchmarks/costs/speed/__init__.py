"""How fast this machine is: updates, whole steps, replicas."""
