"""How each op of xpnet is written as nodes of ONNX: a function an op, with the op's own arguments after the writer.

@writes(ops.relu)
def relu(g, x):
    x = g.get(x)
    return g.like(g.node("Relu", x.name), x)
"""

from __future__ import annotations

import importlib
from typing import Any

from xpnet.interop.onnx.writing_ops.registry import WRITERS, writes

__all__ = ["WRITERS", "writer_of", "writes"]

_FILES = ("convolution", "elementwise", "imported", "linear", "normalization", "reduction", "shape")


def writer_of(function: Any) -> Any:
    """Return what writes an op, or None."""
    for file in _FILES:
        importlib.import_module(f"{__name__}.{file}")
    return WRITERS.get(function)
