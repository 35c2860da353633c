"""Models and arrays of other libraries: ONNX both ways, weights of PyTorch, DLPack, estimators of scikit-learn."""
