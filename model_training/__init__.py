"""Trains the network, judges it and exports it. PyTorch lives here and nowhere else."""

import os

# ONNX Runtime sends usage data unless told not to before it is loaded; as in service.adapters.onnx.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
