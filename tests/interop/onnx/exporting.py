"""A model exported, run by ONNX Runtime, and compared with itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from xpnet import nn
from xpnet.autograd import Tensor, no_grad
from xpnet.data import several
from xpnet.interop.onnx.export import export_onnx

NCHW, NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Custom(nn.Module):
    """A module whose forward is a function of itself and its inputs."""

    def __init__(self, forward, **parts):
        self.compute = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.compute(self, *inputs, **named)


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode with random parameters and averages, none of them near what a layer begins with."""
    rng = np.random.default_rng(seed)
    for path, state in model.states().items():
        fan = max(1, int(np.prod(state.shape[1:])))
        values = rng.normal(size=state.shape) / np.sqrt(fan)
        if path.endswith(("gamma", "var")):
            values = rng.uniform(0.5, 2.0, state.shape)
        state.assign(values.astype(state.dtype_), path)
    return model.eval()


def session(path) -> onnxruntime.InferenceSession:
    """ONNX Runtime with one thread, silent."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def samples(shape, n, dtype="float32", seed=1):
    rng = np.random.default_rng(seed)
    shapes = several.each(shape) if isinstance(shape, dict) or isinstance(shape[0], tuple) else [shape]
    arrays = [rng.normal(size=(n, *each)).astype(dtype) for each in shapes]
    return several.like(shape, arrays) if isinstance(shape, dict) or isinstance(shape[0], tuple) else arrays[0]


def forward(model, x):
    """What the model computes in evaluation mode, on the host."""
    with nn.inference(), no_grad():
        y = several.call(model, x, Tensor)
    return y.numpy() if isinstance(y, Tensor) else [t.numpy() for t in (y.values() if isinstance(y, dict) else y)]


def ran(path, x, layout="nchw"):
    """What the file computes of examples in xpnet's layout, in xpnet's layout."""
    run = session(path)
    arrays = several.each(x)
    if layout == "nchw":
        arrays = [a.transpose(NCHW) if a.ndim == 4 else a for a in arrays]
    found = run.run(None, {i.name: a for i, a in zip(run.get_inputs(), arrays, strict=True)})
    for array, told in zip(found, run.get_outputs(), strict=True):
        assert len(told.shape) == array.ndim
        assert all(not isinstance(size, int) or size == n for size, n in zip(told.shape, array.shape, strict=True))
    found = [y.transpose(NHWC) if y.ndim == 4 and layout == "nchw" else y for y in found]
    return found[0] if len(found) == 1 else found


def agree(
    model, shape, path, *, batches=(1, 3), tolerance=1e-5, dtype="float32", layout="nchw", expected=None, **options
):
    """Export, check, and compare for some numbers of examples; return the names of the nodes' ops, in order."""
    export_onnx(model, path, shape, inputs=layout, **options)
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(file, check_type=True, strict_mode=True)
    assert len(inferred.graph.value_info) >= len(file.graph.node) - len(file.graph.output)
    for n in batches:
        x = samples(shape, n, dtype)
        ours = forward(model, x) if expected is None else expected(x)
        theirs = ran(path, x, layout)
        assert theirs.dtype == ours.dtype
        assert theirs.shape == ours.shape
        close(theirs, ours, tolerance)
    return [node.op_type for node in file.graph.node]


def close(theirs, ours, tolerance=1e-5):
    """Equal to within a tolerance of the largest number."""
    assert theirs.shape == ours.shape
    np.testing.assert_array_equal(np.isnan(theirs), np.isnan(ours))
    scale = max(float(np.abs(ours.astype(np.float64)).max(initial=0.0)), 1e-30)
    error = float(np.abs(theirs.astype(np.float64) - ours.astype(np.float64)).max(initial=0.0))
    assert error <= tolerance * scale, f"{error / scale:.3g} of the largest"
