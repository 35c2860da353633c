"""Drop-ins for NumPy arrays: views instead of copies, results written in place, tiles that stay in the L2 cache."""

from xpnet.kernels.numpy import activation, batch_norm, conv, linear, loss, normalization, pool, shape

__all__ = ["activation", "batch_norm", "conv", "linear", "loss", "normalization", "pool", "shape"]
