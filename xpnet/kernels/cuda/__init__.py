"""Drop-ins for CuPy's arrays: CUDA C++ in .cu files, a family a file, and the calls that launch them."""

from xpnet.kernels.cuda import (
    activation,
    batches,
    conv,
    counters,
    dropout,
    linear,
    loss,
    normalization,
    pool,
    response_norm,
    update,
)  # fmt: skip

__all__ = ["activation", "batches", "conv", "counters", "dropout", "linear", "loss", "normalization", "pool",
           "response_norm", "update"]  # fmt: skip
