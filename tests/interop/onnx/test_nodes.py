"""The node cases of ONNX's own backend test: all those of the ops that are read, counted by op."""

from __future__ import annotations

import collections
import warnings
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet.errors import XpnetError
from xpnet.interop.onnx import registry

pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper

_SHIFTS = ("{0}_int8", "{0}_int16", "{0}_int32", "{0}_int64", "{0}_int8_shift_ge_width", "{0}_int32_shift_ge_width",
           "{0}_int8_negative_shift", "{0}_int32_negative_shift")  # fmt: skip
LEFT_OUT = {
    "BitShift": (
        (*(name.format(f"test_bitshift_{way}") for way in ("right", "left") for name in _SHIFTS),
         "test_bitshift_right_int8_negative_input", "test_bitshift_right_int32_negative_input",
         "test_bitshift_left_int8_overflow", "test_bitshift_left_int32_overflow"),
        "integers with a sign, which opset 28 adds",
    ),
    "ConvTranspose": (("test_convtranspose_3d",), "transposed convolutions of three axes"),
    "Dropout": (
        ("test_training_dropout_default", "test_training_dropout_default_mask", "test_training_dropout",
         "test_training_dropout_mask"),
        "the case expects the draws of NumPy's generator; xpnet drops in model.train() only, by its own draws",
    ),
    "MaxPool": (
        ("test_maxpool_2d_uint8", "test_maxpool_with_argmax_2d_precomputed_pads",
         "test_maxpool_with_argmax_2d_precomputed_strides"),
        "integers, and indices as a second output",
    ),
    "ScatterElements": (
        tuple(f"test_scatter_elements_with_reduction_{how}" for how in ("mul", "max", "min")),
        "products, maxima and minima of several floating updates at one place",
    ),
    "ScatterND": (
        ("test_scatternd_multiply", "test_scatternd_max", "test_scatternd_min",
         "test_scatternd_max_with_element_indices", "test_scatternd_min_with_element_indices"),
        "as for ScatterElements",
    ),
    "ReduceMax": (("test_reduce_max_empty_set_bool",), "truth values of an empty set"),
}  # fmt: skip


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return collect_testcases(None)


def plain(value: Any) -> np.ndarray:
    return np.asarray(numpy_helper.to_array(value) if isinstance(value, TensorProto) else value)


def is_of_ours(case: Any) -> bool:
    """Whether a case is of ops that are read, and of numbers that NumPy has."""
    ops = {(node.domain, node.op_type) for node in case.model.graph.node}
    if any(domain or op not in registry.names() for domain, op in ops):
        return False
    kinds = {v.type.tensor_type.elem_type for v in (*case.model.graph.input, *case.model.graph.output)}
    kinds |= {node_dtype(node) for node in case.model.graph.node} - {0}
    return kinds <= set(range(1, 14)) - {8}


def node_dtype(node: Any) -> int:
    return next((a.i for a in node.attribute if a.name in ("to", "dtype")), 0)


def compare(case: Any, path: Any) -> None:
    path.write_bytes(case.model.SerializeToString())
    model = xpnet.load_onnx(path)
    for inputs, outputs in case.data_sets:
        found = model(*map(plain, inputs))
        found = found if isinstance(found, tuple) else (found,)
        for y, wanted in zip(found, map(plain, outputs), strict=True):
            assert (y.shape, y.numpy().dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_allclose(y.numpy(), wanted, rtol=max(case.rtol, 1e-3), atol=max(case.atol, 1e-6))


def test_the_node_cases_of_the_ops_that_are_read_give_the_expected_values(cases, tmp_path, capsys):
    names = {name for group, _ in LEFT_OUT.values() for name in group}
    passed, left, wrong, floating = collections.Counter(), collections.Counter(), [], 0
    for case in filter(is_of_ours, cases):
        nodes = case.model.graph.node
        op = nodes[0].op_type if len(nodes) == 1 else "several nodes"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                compare(case, tmp_path / "case.onnx")
            except (AssertionError, XpnetError) as error:
                left[op] += 1
                if case.name not in names:
                    wrong.append(f"{case.name}: {str(error).strip()[:200]}")
                continue
        passed[op] += 1
        first = [v.type.tensor_type.elem_type for v in case.model.graph.input[:1]]
        floating += first[0] in (1, 10, 11) if first and len(nodes) == 1 else False
        if case.name in names:
            wrong.append(f"{case.name} passes, but is listed as left out")
    with capsys.disabled():
        counts = ", ".join(f"{op} {n}" + f" of {n + left[op]}" * bool(left[op]) for op, n in sorted(passed.items()))
        print(
            f"\n{sum(passed.values())} of {sum((passed + left).values())} node cases, {floating} of one floating node"
        )
        print(f"{len(registry.names())} ops: {counts}")
    assert wrong == []
    assert floating >= 450
    assert len(registry.names()) >= 133


def test_every_op_that_is_left_out_gives_its_reason():
    assert all(reason and set(group) for group, reason in LEFT_OUT.values())
    assert set(LEFT_OUT) <= set(registry.names())
