"""Optimizers' updates on CUDA."""
