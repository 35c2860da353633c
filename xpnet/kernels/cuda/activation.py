"""Activations on CUDA, with the bias before them."""
