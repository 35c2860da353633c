"""Models as ONNX files, written and read."""
