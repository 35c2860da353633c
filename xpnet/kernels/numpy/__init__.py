"""Drop-ins for NumPy arrays: views instead of copies, results written in place, tiles that stay in the L2 cache."""

from xpnet.kernels.numpy import activation, arithmetic, conv, linear, loss, normalization, pool, response_norm, shape

__all__ = ["activation", "arithmetic", "conv", "linear", "loss", "normalization", "pool", "response_norm", "shape"]
