"""Dropout on CUDA, by the bits of random.py."""
