"""Drop-ins for NumPy arrays, compiled: what NumPy does in several passes over memory, in one."""

from xpnet.kernels.numba import activation, conv, linear, loss, normalization, pool, response_norm, update
from xpnet.kernels.numba.compiling import prepare

__all__ = ["activation", "conv", "linear", "loss", "normalization", "pool", "prepare", "response_norm", "update"]
