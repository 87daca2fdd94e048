"""One package per technology; none imports another."""
