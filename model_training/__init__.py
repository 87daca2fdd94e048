"""Trains the network, judges it and exports it. PyTorch lives here and nowhere else."""

import os

# ONNX Runtime sends usage data unless told not to before it is loaded; as in service.adapters.onnx.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# The simulator multiplies many small matrices; a second BLAS thread only waits for its turn, and
# next to a training that keeps a core busy it makes the whole several times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
