"""The plan for one GPU: how fast it is, then the experiments that are made for one."""
