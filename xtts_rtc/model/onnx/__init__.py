"""The CPU runtime: ONNX graphs from a bundle, run with numpy and onnxruntime (openvino where installed)."""
