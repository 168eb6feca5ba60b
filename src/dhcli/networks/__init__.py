"""ONNX Runtime: bundles, networks, devices and errors."""
