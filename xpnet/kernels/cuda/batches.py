"""Batches gathered, normalized and varied on CUDA."""
