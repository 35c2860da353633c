"""Drop-ins for NumPy arrays, compiled: what NumPy does in several passes over memory, in one."""

from xpnet.kernels.numba import activation, batch_norm, conv, linear, loss, normalization, pool, update
from xpnet.kernels.numba.compiling import prepare

__all__ = ["activation", "batch_norm", "conv", "linear", "loss", "normalization", "pool", "prepare", "update"]
