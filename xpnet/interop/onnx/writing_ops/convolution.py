"""What slides windows over images: convolution and pooling. ONNX's images are (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import ops
from xpnet.interop.graph import Batch, Value
from xpnet.interop.onnx.writer import NCHW, Stored, Writer
from xpnet.interop.onnx.writing_ops.elementwise import activate
from xpnet.interop.onnx.writing_ops.registry import writes
from xpnet.ops.checks import pair
from xpnet.windows import Axis, out_size

__all__: list[str] = []

Pair = int | tuple[int, int]


@writes(ops.conv2d)
def conv2d(
    g: Writer,
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    flip: bool = False,
    activation: str | None = None,
) -> Stored:
    """Conv, with filters (F, KH, KW, C/G) as (F, C/G, KH, KW)."""
    if w.array is not None:
        filters = w.array[:, ::-1, ::-1] if flip else w.array
        weight = g.weight(w, filters.transpose(NCHW), ("filters", flip))
    elif flip:
        raise g.unsupported(
            "filters that the model computes are flipped", "flip them by xpnet.ops in forward, or use flip=False"
        )
    else:
        weight = g.ordered(w, NCHW).name
    name = g.node(
        "Conv",
        g.ordered(x, NCHW).name,
        weight,
        *([] if b is None else [g.get(b).name]),
        kernel_shape=list(w.shape[1:3]),
        strides=pair("conv2d", "stride", stride, 1),
        pads=pair("conv2d", "padding", padding, 0) * 2,
        dilations=pair("conv2d", "dilation", dilation, 1),
        group=groups,
    )
    return activate(g, g.result(name, NCHW), activation)


def _windows(
    g: Writer, x: Value, kernel: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool
) -> tuple[Axis, Axis]:
    sizes = pair("pool", "kernel_size", kernel, 1)
    strides = sizes if stride is None else pair("pool", "stride", stride, 1)
    pads = pair("pool", "padding", padding, 0)
    if any(isinstance(n, Batch) for n in x.shape[1:3]):
        raise g.unsupported("images whose size depends on the number of examples", "export with a fixed batch")
    rows, cols = (
        Axis(n, k, s, p, 1, out_size(n, k, s, p, ceil_mode=ceil_mode))  # type: ignore[arg-type]
        for n, k, s, p in zip(x.shape[1:3], sizes, strides, pads, strict=True)
    )
    return rows, cols


def _pool(g: Writer, op: str, x: Value, axes: tuple[Axis, Axis], **attributes: Any) -> str:
    """Write a pooling whose last windows may reach over the border: by padding there, since runtimes read ceil_mode
    differently."""
    ends = [max(axis.p if axis.out == out_size(axis.n, axis.k, axis.s, axis.p) else 0,
                axis.span()[1] - axis.n) for axis in axes]  # fmt: skip
    return g.node(
        op,
        g.ordered(x, NCHW).name,
        kernel_shape=[axis.k for axis in axes],
        strides=[axis.s for axis in axes],
        pads=[*(axis.p for axis in axes), *ends],
        **attributes,
    )


@writes(ops.max_pool2d)
def max_pool2d(
    g: Writer, x: Value, *, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False
) -> Stored:
    """MaxPool."""
    return g.result(_pool(g, "MaxPool", x, _windows(g, x, kernel_size, stride, padding, ceil_mode)), NCHW)


@writes(ops.avg_pool2d)
def avg_pool2d(
    g: Writer,
    x: Value,
    *,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Stored:
    """AveragePool; where a window reaches over the padded border, the average of a whole window is corrected."""
    axes = _windows(g, x, kernel_size, stride, padding, ceil_mode)
    if not count_include_pad:
        return g.result(_pool(g, "AveragePool", x, axes, count_include_pad=0), NCHW)
    y = g.result(_pool(g, "AveragePool", x, axes, count_include_pad=1), NCHW)
    shares = [np.asarray([axis.k / n for n in axis.counts(True)]) for axis in axes]
    if all((share == 1).all() for share in shares):
        return y
    return g.like(g.node("Mul", y.name, g.constant(np.outer(*shares), x.dtype)), y)  # (OH, OW)


@writes(ops.global_avg_pool2d)
def global_avg_pool2d(g: Writer, x: Value) -> Stored:
    """GlobalAveragePool, (N, C, 1, 1), as rows (N, C)."""
    name = g.node("GlobalAveragePool", g.ordered(x, NCHW).name)
    return g.result(g.node("Flatten", name, axis=1))
