"""The inputs that PyTorch tests its own ops with: results and gradients in float64 agree with PyTorch's.

Left out is what our ops refuse: other options, vectors in matmul and layer_norm, softmax over no number, an axis 0 of
arrays of rank 0 (which PyTorch has and the Array API standard has not), and gradients of targets in cross-entropy.
"""

from __future__ import annotations

import sys
import types
import unittest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpnet import ops

torch = pytest.importorskip("torch")

Call = tuple[Callable[..., Any], list[Any], dict[str, Any]]  # an op, its arguments as PyTorch has them, its options
IMAGES = (ops.conv2d, ops.max_pool2d, ops.avg_pool2d)  # channels last


def op_db() -> list[Any]:
    """PyTorch's table of ops and inputs; it imports expecttest, of which it uses nothing here."""
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=unittest.TestCase))  # type: ignore
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as error:
        pytest.skip(f"this PyTorch has no table of inputs: {error}")
    return op_db


def same(name: str) -> Callable[..., Call]:
    return lambda x, *rest: (getattr(ops, name), [x, *rest], {})


def along(name: str) -> Callable[..., Call]:
    def call(x: Any, dim: Any, dtype: Any = None) -> Any:
        return (getattr(ops, name), [x], {"axis": dim}) if dtype is None and x.ndim and x.shape[dim] else None

    return call


def reduced(name: str) -> Callable[..., Call]:
    def call(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        dim = tuple(dim) if isinstance(dim, list | tuple | torch.Size) else dim
        return (
            (getattr(ops, name), [x], {"axis": dim, "keepdims": keepdim})
            if dim != () and not dtype and (x.ndim or dim is None)
            else None
        )

    return call


def conv2d(x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (ops.conv2d, [x, w, b], options) if x.ndim == 4 and not isinstance(padding, str) else None


def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    options = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "ceil_mode": ceil_mode}
    return (ops.max_pool2d, [x], options) if x.ndim == 4 and dilation in (1, (1, 1)) and not return_indices else None


def avg_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: Any = None) -> Any:  # fmt: skip
    options = {"kernel_size": kernel_size, "stride": stride or None, "padding": padding, "ceil_mode": ceil_mode}
    options["count_include_pad"] = count_include_pad
    return (ops.avg_pool2d, [x], options) if x.ndim == 4 and divisor_override is None and padding != (2,) else None


def layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return (
        (ops.layer_norm, [x, weight, bias], {"eps": eps}) if len(shape) == 1 < x.ndim and weight is not None else None
    )


def cross_entropy(x: Any, target: Any, weight: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
                  ignore_index: int = -100) -> Any:  # fmt: skip
    options = {"reduction": reduction, "label_smoothing": label_smoothing, "class_weights": weight}
    return (ops.softmax_cross_entropy, [x, target.detach()], options) if x.ndim == 2 and ignore_index < 0 else None


def gelu(x: Any, approximate: str = "none") -> Any:
    return (ops.gelu, [x], {}) if approximate == "tanh" else None


OPS: dict[str, Callable[..., Any]] = {
    **{name: same(name) for name in ("abs", "exp", "log", "sigmoid", "sqrt", "square", "tanh", "maximum", "minimum")},
    "matmul": lambda a, b: (ops.matmul, [a, b], {}) if min(a.ndim, b.ndim) > 1 else None,
    "neg": same("negative"), "nn.functional.relu": lambda x, inplace=False: (ops.relu, [x], {}),
    "mul": same("multiply"), "add": lambda a, b, alpha=1: (ops.add, [a, b], {}) if alpha == 1 else None,
    "sub": lambda a, b, alpha=1: (ops.subtract, [a, b], {}) if alpha == 1 else None,
    "div": lambda a, b, rounding_mode=None: (ops.divide, [a, b], {}) if rounding_mode is None else None,
    "nn.functional.leaky_relu": lambda x, slope=0.01, inplace=False, negative_slope=0.01:
        (ops.leaky_relu, [x], {"slope": negative_slope}),
    "nn.functional.gelu": gelu, "softmax": along("softmax"), "log_softmax": along("log_softmax"),
    "sum": reduced("sum"), "mean": reduced("mean"), "amax": reduced("max"), "amin": reduced("min"),
    "where": lambda a, mask, b: (ops.where, [mask, a, b], {}),
    "nn.functional.linear": same("linear"), "nn.functional.conv2d": conv2d, "nn.functional.max_pool2d": max_pool2d,
    "nn.functional.avg_pool2d": avg_pool2d, "nn.functional.layer_norm": layer_norm,
    "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.mse_loss": lambda y, t, reduction="mean": (ops.mean_squared_error, [y, t], {"reduction": reduction}),
}  # fmt: skip


def host(x: Any, images: bool = False) -> Any:
    x = x.permute(0, 2, 3, 1) if images and isinstance(x, torch.Tensor) and x.ndim == 4 else x
    return x.detach().numpy() if isinstance(x, torch.Tensor) else x


def test_results_and_gradients_agree_with_pytorch_on_its_own_inputs():
    tried, wrong = dict.fromkeys(OPS, 0), []
    for info in op_db():
        if info.name not in OPS or info.variant_test_name not in ("", "no_rounding_mode"):
            continue
        for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):
            given = OPS[info.name](sample.input, *sample.args, **sample.kwargs)
            if given is None or any(isinstance(a, torch.Tensor) and a.is_complex() for a in given[1]):
                continue
            op, tensors, options = given
            want = info.op(sample.input, *sample.args, **sample.kwargs)
            dy = torch.linspace(-1, 1, max(1, want.numel()), dtype=want.dtype)[: want.numel()].reshape(want.shape)
            inputs = [t for t in tensors if isinstance(t, torch.Tensor) and t.requires_grad]
            found = torch.autograd.grad(want, inputs, dy, allow_unused=True) if inputs else ()
            slopes = dict(zip(map(id, inputs), found, strict=True))
            try:
                images = op in IMAGES
                y, vjp = op(*(host(t, images) for t in tensors), **{k: host(v) for k, v in options.items()})
                gradients = vjp(np.array(host(dy, images)), tuple(id(t) in slopes for t in tensors))
                pairs = [(want, y)]
                pairs += [(slopes[id(t)], g) for t, g in zip(tensors, gradients, strict=False) if id(t) in slopes]
                for a, b in pairs:
                    np.testing.assert_allclose(b, host(a, images), rtol=1e-9, atol=1e-12, equal_nan=True)
                tried[info.name] += 1
            except Exception as error:
                line = f"{type(error).__name__} " + " ".join(str(error).split())[:300]
                shapes = [tuple(a.shape) if isinstance(a, torch.Tensor) else a for a in (*tensors, *sample.args)]
                wrong.append(f"{info.name} {shapes} {list(sample.kwargs)}: {line}")
    assert not wrong, f"{len(wrong)} of {sum(tried.values())}:\n" + "\n".join(wrong)
    assert all(tried.values()), [name for name, count in tried.items() if not count]
