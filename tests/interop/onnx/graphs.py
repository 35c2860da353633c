"""Small ONNX files that the tests build, and what ONNX Runtime says of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["lenet", "mlp", "rng", "runtime", "tensor", "write"]

KINDS = {"f": TensorProto.FLOAT, "d": TensorProto.DOUBLE, "i": TensorProto.INT64, "b": TensorProto.BOOL}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tensor(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def write(
    path: Path, nodes: list[Any], inputs: dict[str, Any], outputs: list[str], arrays: dict[str, Any], opset: int = 17,
    kinds: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write a model of nodes; shapes of inputs by name."""
    kinds = kinds or {}

    def port(name: str, shape: Any) -> Any:
        return helper.make_tensor_value_info(name, KINDS[kinds.get(name, "f")], shape)

    graph = helper.make_graph(
        nodes, "g", [port(n, s) for n, s in inputs.items()], [port(n, None) for n in outputs],
        [tensor(n, a) for n, a in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def mlp(path: Path, batch: Any = "N") -> Path:
    """784-style: x (N, 6) -> Gemm(transB) 5, Relu, MatMul + Add 3, Softmax."""
    r = rng(1)
    arrays = {
        "w1": r.normal(size=(5, 6)).astype("f"), "b1": r.normal(size=5).astype("f"),
        "w2": r.normal(size=(5, 3)).astype("f"), "b2": r.normal(size=3).astype("f"),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], name="fc1", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w2"], ["c"], name="fc2"),
        helper.make_node("Add", ["c", "b2"], ["d"], name="fc2_bias"),
        helper.make_node("Softmax", ["d"], ["y"], name="out"),
    ]
    return write(path, nodes, {"x": [batch, 6]}, ["y"], arrays)


def lenet(path: Path, side: int = 12, classes: int = 4) -> Path:
    """x (N, 1, H, W) -> conv, batch norm, tanh, pool, conv, relu, pool, flatten, dropout, linear."""
    r = rng(2)
    flat = 5 * (side // 4) ** 2
    arrays = {
        "w1": r.normal(size=(3, 1, 5, 5)).astype("f") / 5, "b1": r.normal(size=3).astype("f"),
        "g": r.uniform(0.5, 2, 3).astype("f"), "h": r.normal(size=3).astype("f"),
        "m": r.normal(size=3).astype("f"), "v": r.uniform(0.5, 2, 3).astype("f"),
        "w2": r.normal(size=(5, 3, 3, 3)).astype("f") / 5, "w3": r.normal(size=(classes, flat)).astype("f") / 7,
        "b3": r.normal(size=classes).astype("f"), "ratio": np.float32(0.25),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="conv1", pads=[2, 2, 2, 2]),
        helper.make_node("BatchNormalization", ["a", "g", "h", "m", "v"], ["n"], name="norm1"),
        helper.make_node("Tanh", ["n"], ["b"]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2"], ["d"], name="conv2", auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["i"]),
        helper.make_node("Dropout", ["i", "ratio"], ["j"], name="drop"),
        helper.make_node("Gemm", ["j", "w3", "b3"], ["y"], name="fc", transB=1),
    ]
    return write(path, nodes, {"x": ["N", 1, side, side]}, ["y"], arrays)


def runtime(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """Compute a file's outputs by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))
