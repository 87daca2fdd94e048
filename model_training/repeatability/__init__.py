"""How far repeat scans of the same patient differ, simulated, and whether intervals cover it."""
