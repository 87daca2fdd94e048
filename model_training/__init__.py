"""Trains the network, judges it and exports it. PyTorch lives here and nowhere else."""
