"""Comparisons, logic and bits: truth values and integers are arrays of the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.errors import DTypeError
from xpnet.interop.onnx.reading_ops.elementwise import old_axis
from xpnet.interop.onnx.registry import reads

__all__ = ["is_inf", "is_nan", "negated"]


def _compare(name: str, function: Any, since: int = 1, kinds: str = "biuf") -> None:
    def read(run: Any, node: Any, a: Any, b: Any) -> np.ndarray:
        b = old_axis(node, a, b)
        a, b = run.host(a), run.host(b)
        if a.dtype.kind not in kinds or b.dtype.kind not in kinds:
            raise DTypeError(node.where, "values of the op's kind", dtypes=f"{a.dtype}, {b.dtype}")
        return run.compute(function, a, b)

    reads(name, since, family="other")(read)


for _name, _function in (("Equal", np.equal), ("Greater", np.greater), ("Less", np.less)):
    _compare(_name, _function)
for _name, _function in (("GreaterOrEqual", np.greater_equal), ("LessOrEqual", np.less_equal)):
    _compare(_name, _function, 12)
for _name, _function in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)):
    _compare(_name, _function, kinds="b")
for _name, _function in (
    ("BitwiseAnd", np.bitwise_and), ("BitwiseOr", np.bitwise_or), ("BitwiseXor", np.bitwise_xor),
):  # fmt: skip
    _compare(_name, _function, 18, kinds="iu")


@reads("Not")
def negated(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return whether each truth value is false."""
    x = run.host(x)
    if x.dtype.kind != "b":
        raise DTypeError(node.where, "truth values", dtype=x.dtype)
    return run.compute(np.logical_not, x)


@reads("BitwiseNot", 18)
def bits_negated(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return integers with each bit turned."""
    x = run.host(x)
    if x.dtype.kind not in "iu":
        raise DTypeError(node.where, "integers", dtype=x.dtype)
    return run.compute(np.invert, x)


@reads("IsNaN", 9)
def is_nan(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return where numbers are NaN."""
    return run.compute(np.isnan, run.host(x))


@reads("IsInf", 10)
def is_inf(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return where numbers are infinite, of the signs that are asked for."""
    plus, minus = node.flag("detect_positive", True), node.flag("detect_negative", True)
    return run.compute(lambda a: (np.isposinf(a) & plus) | (np.isneginf(a) & minus), run.host(x))
