"""The readers of ONNX ops, by family; see xpnet.interop.onnx.registry."""
