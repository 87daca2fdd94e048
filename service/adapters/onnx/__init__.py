"""The network through ONNX Runtime."""

import os

# Builds of ONNX Runtime from 1.29 on send usage data from Linux too, and keep a device id in the
# home directory. A hospital's worker talks to nobody. It must be set before the runtime is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
