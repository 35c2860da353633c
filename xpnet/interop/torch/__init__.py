"""Weights of PyTorch: files and state dictionaries read into a model, and a model's weights in PyTorch's layout."""
