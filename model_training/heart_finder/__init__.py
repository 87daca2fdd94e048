"""The small network that finds the heart on a coarse grid: its cases, training and export."""
