"""The simulator: the same decision code against a modelled cluster, on simulated time."""
