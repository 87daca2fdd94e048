"""Going on from a trained network on somebody's own annotated scans."""
