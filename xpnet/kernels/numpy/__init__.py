"""Drop-ins for NumPy arrays: views instead of copies, results written in place, tiles that stay in the L2 cache."""

from xpnet.kernels.numpy import conv, linear, loss, pool

__all__ = ["conv", "linear", "loss", "pool"]
