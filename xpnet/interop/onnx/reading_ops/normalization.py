"""Normalization by the statistics of batches, images, groups, features and neighbours; and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.reading_ops.windows import spatial
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import LAST, Value, is_host, shape_of

__all__ = ["batch_normalization", "dropout", "layer_normalization", "local_response_normalization"]


@reads(
    "BatchNormalization",
    parameters={1: "scale", 2: "bias"},
    buffers={3: "mean", 4: "var"},
    kind="batch norm",
    family="normalization",
)
def batch_normalization(run: Any, node: Any, x: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
    """Normalize each channel: by the running statistics, or in training by the batch's, which renew them."""
    node.only("spatial", 1)
    x, eps, keep = run.value(x), node.number("epsilon", 1e-5), node.number("momentum", 0.9)
    rank = x.tensor.ndim
    if rank < 2 or eps < 0 or not 0 <= keep <= 1:
        raise ShapeError(node.where, "x of shape (N, C, ...), epsilon >= 0, momentum 0 to 1", x=x.shape, momentum=keep)
    order = (0, *range(2, rank), 1)
    t = x.arranged(order)
    gamma, beta = run.tensor(scale), run.tensor(shift)
    kept = [run.tensor(v) for v in (mean, var)]
    count = math.prod(t.shape[:-1])
    always = node.flag("training_mode")
    if not (always or run.training) or count < 2:
        y = Value(run.apply(ops.batch_norm, t, gamma, beta, kept[0], kept[1], eps=eps), order)
        return (y, *(Value(k) for k in kept)) if always else y
    moments = ops.moments(t.data)
    y = Value(run.apply(ops.batch_norm, t, gamma, beta, *moments, eps=eps, training=True), order)
    if always and not run.training:  # the file asks for the batch's statistics, and for new averages as outputs
        new = [ops.add(ops.multiply(k.data, keep)[0], ops.multiply(m, 1.0 - keep)[0])[0]
               for k, m in zip(kept, moments, strict=True)]  # fmt: skip
        return y, Value(Tensor(new[0])), Value(Tensor(new[1]))
    layer = run.layer
    if layer is not None and hasattr(layer, "mean") and hasattr(layer, "var"):
        layer.mean.data, layer.var.data = ops.running_moments(
            layer.mean.data, layer.var.data, *moments, count=count, momentum=1.0 - keep
        )
    return (y, *(Value(k) for k in kept)) if always else y


@reads("Dropout", 12, kind="dropout", family="dropout", drops=True)
def dropout(run: Any, node: Any, x: Any, ratio: Any = None, training_mode: Any = None) -> tuple[Any, np.ndarray]:
    """Drop numbers in training; in evaluation return x, whatever training_mode says."""
    return _dropped(run, node, x, run.scalar(ratio, "ratio", 0.5))


@reads("Dropout", 1, 11, kind="dropout", family="dropout", drops=True)
def old_dropout(run: Any, node: Any, x: Any) -> tuple[Any, np.ndarray]:
    """Drop numbers in training, by the ratio of an attribute."""
    return _dropped(run, node, x, node.number("ratio", 0.5))


def _dropped(run: Any, node: Any, x: Any, ratio: float) -> tuple[Any, Any]:
    if not 0 <= ratio < 1:
        raise ConfigError(node.where, "0 <= ratio < 1", ratio=ratio)
    mask = np.broadcast_to(np.True_, run.claim(shape_of(x), 1))
    if not run.training or is_host(x) or run.layer is None:
        return x, mask
    layer = run.layer.dropout
    if layer.rate != ratio:
        layer.rate = ratio
    return x.like(layer(x.tensor)), mask


def _statistics(run: Any, t: Any, axis: Any, eps: float) -> tuple[Any, Any, Any]:
    """Return t less its mean over axes, that mean, and 1 / its standard deviation."""
    mean = run.apply(ops.mean, t, axis=axis, keepdims=True)
    centred = run.apply(ops.subtract, t, mean)
    var = run.apply(ops.mean, run.apply(ops.square, centred), axis=axis, keepdims=True)
    inverse = run.apply(ops.divide, 1.0, run.apply(ops.sqrt, run.apply(ops.add, var, eps)))
    return centred, mean, inverse


@reads(
    "LayerNormalization", 1, parameters={1: "scale", 2: "bias"}, kind="layer norm", family="normalization"
)  # opset 17, and earlier ones of exporters
def layer_normalization(run: Any, node: Any, x: Any, scale: Any, shift: Any = None) -> tuple[Any, ...]:
    """Normalize each example over the axes from one on; also return the means and 1 / standard deviations."""
    x = run.value(x)
    shape = x.shape
    axis = axis_of(node.where, node.integer("axis", -1), len(shape))
    rows, count = math.prod(shape[:axis]), math.prod(shape[axis:])
    if not count:
        raise ShapeError(node.where, "at least one number an example", x=shape)
    eps, t = node.number("epsilon", 1e-5), x.arranged(None).reshape(rows, count)
    gamma = _features(run, node, scale, shape[axis:])
    beta = run.constant((count,), 0.0, t) if shift is None else _features(run, node, shift, shape[axis:])
    y = Value(run.apply(ops.layer_norm, t, gamma, beta, eps=eps).reshape(*shape))
    if not any(node.outputs[1:]):
        return (y,) + (None,) * (len(node.outputs) - 1)
    _, mean, inverse = _statistics(run, t, 1, eps)
    sizes = (*shape[:axis], *(1,) * (len(shape) - axis))
    return y, Value(mean.reshape(*sizes)), Value(inverse.reshape(*sizes))


def _features(run: Any, node: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """Return a scale or shift as one number a feature."""
    t = run.tensor(x)
    if tuple(t.shape) != shape:
        if t.ndim > len(shape):
            raise ShapeError(node.where, f"a scale and shift of shape {shape}", shape=tuple(t.shape))
        t = run.apply(ops.broadcast_to, t, shape=shape)
    return t.reshape(math.prod(shape))


@reads("RMSNormalization", 23, parameters={1: "scale"}, kind="rms norm", family="normalization")
def rms_normalization(run: Any, node: Any, x: Any, scale: Any) -> Value:
    """Divide each example by the root of its mean square over the axes from one on."""
    x = run.value(x)
    axis = axis_of(node.where, node.integer("axis", -1), x.tensor.ndim)
    t, over = x.arranged(None), tuple(range(axis, x.tensor.ndim))
    mean = run.apply(ops.mean, run.apply(ops.square, t), axis=over, keepdims=True)
    root = run.apply(ops.sqrt, run.apply(ops.add, mean, node.number("epsilon", 1e-5)))
    return run.binary(ops.multiply, Value(run.apply(ops.divide, t, root)), scale)


@reads("InstanceNormalization", 6, parameters={1: "scale", 2: "bias"}, kind="instance norm", family="normalization")
def instance_normalization(run: Any, node: Any, x: Any, scale: Any, shift: Any) -> Value:
    """Normalize each channel of each image by its own mean and variance."""
    x = run.value(x)
    order = (0, *range(2, x.tensor.ndim), 1)
    t, count = x.arranged(order), len(spatial(node.where, x, 1, 6))
    centred, _, inverse = _statistics(run, t, tuple(range(1, 1 + count)), node.number("epsilon", 1e-5))
    y = run.apply(ops.multiply, run.apply(ops.multiply, centred, inverse), run.tensor(scale))
    return Value(run.apply(ops.add, y, run.tensor(shift)), order)


@reads("GroupNormalization", 18, parameters={1: "scale", 2: "bias"}, kind="group norm", family="normalization")
def group_normalization(run: Any, node: Any, x: Any, scale: Any, shift: Any) -> Value:
    """Normalize groups of channels of each image; scale and shift are of groups before opset 21, then of channels."""
    x, groups = run.value(x), node.integer("num_groups")
    shape = x.shape
    spatial(node.where, x, 1, 6)
    if groups < 1 or shape[1] % groups:
        raise ShapeError(node.where, "num_groups that divide the channels", x=shape, num_groups=groups)
    t = x.arranged(None).reshape(shape[0], groups, math.prod(shape[1:]) // groups)
    centred, _, inverse = _statistics(run, t, 2, node.number("epsilon", 1e-5))
    t = run.apply(ops.multiply, centred, inverse)
    gamma, beta = run.tensor(scale), run.tensor(shift)
    of_groups = node.opset < 21 and tuple(gamma.shape) == (groups,)
    t = t if of_groups else t.reshape(shape[0], shape[1], math.prod(shape[2:]))
    width = groups if of_groups else shape[1]
    y = run.apply(ops.multiply, t, gamma.reshape(width, 1))
    return Value(run.apply(ops.add, y, beta.reshape(width, 1)).reshape(*shape))


@reads("MeanVarianceNormalization", 9, kind="mean and variance", family="normalization")
def mean_variance_normalization(run: Any, node: Any, x: Any) -> Value:
    """Bring axes to mean 0 and variance 1."""
    x = run.value(x)
    axes = tuple(x.axis(axis_of(node.where, a, x.tensor.ndim)) for a in node.integers("axes", (0, 2, 3)))
    centred, _, _ = _statistics(run, x.tensor, axes, 0.0)
    var = run.apply(ops.mean, run.apply(ops.square, centred), axis=axes, keepdims=True)
    deviation = run.apply(ops.add, run.apply(ops.sqrt, var), 1e-9)
    return x.like(run.apply(ops.divide, centred, deviation))


@reads("LpNormalization", kind="norm", family="normalization")
def lp_normalization(run: Any, node: Any, x: Any) -> Value:
    """Divide by the sum of magnitudes along an axis, or by the root of that of squares; where that is 0, return 0."""
    x, p = run.value(x), node.integer("p", 2)
    if p not in (1, 2):
        raise ConfigError(node.where, "p 1 or 2", p=p)
    axis = x.axis(axis_of(node.where, node.integer("axis", -1), x.tensor.ndim))
    size = run.apply(ops.sum, run.apply(ops.abs if p == 1 else ops.square, x.tensor), axis=axis, keepdims=True)
    size = size if p == 1 else run.apply(functions.root, size)
    return x.like(run.apply(functions.divide_unless_0, x.tensor, size))


@reads("LRN", kind="response norm", family="normalization")
def local_response_normalization(run: Any, node: Any, x: Any) -> Value:
    """Divide each number by the strength of its neighbours among the channels."""
    x, size = run.value(x), node.integer("size")
    shape = x.shape
    spatial(node.where, x, 2, 2)
    alpha, beta, bias = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    if size < 1:
        raise ConfigError(node.where, "size >= 1", size=size)
    reach = min(size, 2 * shape[1] + size % 2)  # a wider window holds no more channels
    options = {"size": reach, "alpha": alpha * reach / size, "beta": beta, "k": bias, "average": True}
    if reach % 2 == 0:  # the odd one of the neighbours is a channel after, in xpnet's op before
        back = np.arange(shape[1])[::-1]
        x = run.taken(x, back, 1)
    y = Value(run.apply(ops.local_response_norm, x.arranged(LAST), **options), LAST)
    return run.taken(y, np.arange(shape[1])[::-1], 1) if reach % 2 == 0 else y
