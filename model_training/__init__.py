"""Trains the network, judges it and exports it. PyTorch lives here and nowhere else."""

import os

# As in service.adapters.onnx: ONNX Runtime sends usage data unless told not to, before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
