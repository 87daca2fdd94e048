"""The network through ONNX Runtime."""
