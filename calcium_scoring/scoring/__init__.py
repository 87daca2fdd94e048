"""What the calcium amounts to, always at the resolution of the scan."""
