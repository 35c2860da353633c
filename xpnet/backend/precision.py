"""The precision in which products are computed: a setting of the run, read by kernels.

fp32    float32 in, float32 arithmetic; never TF32
tf32    float32 in, products of numbers rounded to 10 bits of fraction, float32 sums (NVIDIA's tensor cores)
fp16    float16 in, products on tensor cores, float32 sums; master parameters stay float32
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from xpnet.errors import ConfigError, nearest

__all__ = ["PRECISIONS", "current_precision", "use_precision"]

PRECISIONS = ("fp32", "tf32", "fp16")

_CURRENT: contextvars.ContextVar[str] = contextvars.ContextVar("xpnet_precision", default="fp32")
current_precision = _CURRENT.get  # current_precision() is that of products: "fp32", unless within use_precision


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Set the precision of products within a with-block, for this thread and task only.

    It changes no array's dtype: the caller makes float16 arrays for "fp16".

    Args:
        name: one of PRECISIONS.
    Raises:
        ConfigError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise ConfigError("precision", "the name of a precision", nearest(str(name), PRECISIONS), precision=repr(name))
    token = _CURRENT.set(name)
    try:
        yield
    finally:
        _CURRENT.reset(token)
