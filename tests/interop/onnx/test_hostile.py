"""Files that are damaged or ask for more than they hold: one line, bounded memory, nothing read elsewhere."""

from __future__ import annotations

import os
import random
import resource
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet.errors import ConfigError, DataError, XpnetError

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper

from tests.interop.onnx.graphs import lenet, mlp, rng, tensor, write
from xpnet.autograd import Tensor
from xpnet.interop.onnx import limits, run

make = helper.make_node
BUDGET = 1 << 20
LONG = "XPNET_FUZZ" in os.environ  # ci/test-long


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def constant(name: str, *values: int):
    return make("Constant", [], [name], value=tensor(name, ints(*values)))


def bounded(call):
    """Call, and return the XpnetError that it ends in, once it is known to be one line, and made of little memory."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(XpnetError) as caught:
                call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
    assert peak < 60 * BUDGET
    return caught.value


BIG = 1 << 27
FOLDED = {
    "ConstantOfShape": [constant("s", BIG), make("ConstantOfShape", ["s"], ["y"])],
    "ConstantOfShape of more axes than sizes": [constant("s", *[1 << 60] * 30), make("ConstantOfShape", ["s"], ["y"])],
    "Range": [constant("a", 0), constant("b", 1 << 40), constant("c", 1), make("Squeeze", ["a"], ["a0"]),
              make("Range", ["a", "b", "c"], ["y"])],
    "Expand": [constant("v", 1), constant("s", BIG), make("Expand", ["v", "s"], ["y"])],
    "Tile": [constant("v", 1), constant("s", BIG), make("Tile", ["v", "s"], ["y"])],
    "Concat chain": [constant("v0", *range(64)),
                     *(make("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(60)),
                     make("Identity", ["v60"], ["y"])],
    "Add chain of constants": [constant("v0", *range(1 << 14)),
                               *(make("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(60)),
                               make("Identity", ["v60"], ["y"])],
    "40 ConstantOfShape": [constant("s", 1 << 17),
                           *(make("ConstantOfShape", ["s"], [f"v{i}"]) for i in range(40)),
                           make("Sum", [f"v{i}" for i in range(40)], ["y"])],
    "Pad": [constant("v", 1), constant("p", BIG, 0), make("Pad", ["v", "p"], ["y"])],
    "OneHot": [constant("v", 1, 2), constant("d", BIG), constant("o", 0, 1), make("OneHot", ["v", "d", "o"], ["y"])],
    "outer sum": [constant("v", *range(5000)), constant("s", 5000, 1), make("Reshape", ["v", "s"], ["w"]),
                  make("Add", ["v", "w"], ["y"])],
    "outer product": [constant("v", *range(5000)), constant("s", 5000, 1), constant("t", 1, 5000),
                      make("Reshape", ["v", "s"], ["w"]), make("Reshape", ["v", "t"], ["u"]),
                      make("MatMul", ["w", "u"], ["y"])],
    "EyeLike": [constant("s", 2, BIG), constant("v", 1), make("Expand", ["v", "s"], ["w"]),
                make("EyeLike", ["w"], ["y"])],
    "Gather": [constant("v", *range(4000)), constant("s", 1, 4000), make("Reshape", ["v", "s"], ["w"]),
               constant("i", *[0] * 4000), make("Gather", ["w", "i"], ["y"])],
    "NonZero": [constant("s", 1 << 16), make("ConstantOfShape", ["s"], ["w"], value=tensor("", ints(1))),
                make("NonZero", ["w"], ["u"]), make("Concat", ["u"] * 40, ["y"], axis=0)],
    "Where": [constant("v", *range(5000)), constant("s", 5000, 1), make("Reshape", ["v", "s"], ["w"]),
              make("Less", ["v", "w"], ["m"]), make("Where", ["m", "v", "w"], ["y"])],
    "Trilu": [constant("s", 1 << 13, 1 << 13), constant("v", 1), make("Expand", ["v", "s"], ["w"]),
              make("Trilu", ["w"], ["y"])],
    "Resize": [constant("v", 1), constant("s", 1, 1, 1 << 14, 1 << 14), make("Cast", ["v"], ["f"], to=1),
               constant("t", 1, 1, 1, 1), make("Reshape", ["f", "t"], ["x4"]),
               make("Resize", ["x4", "", "", "s"], ["y"])],
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_constants_that_are_computed_stay_within_the_budget(tmp_path, name):
    path = write(tmp_path / "m.onnx", FOLDED[name], {}, ["y"], {})
    assert os.path.getsize(path) < 200_000
    bounded(lambda: xpnet.load_onnx(path, max_bytes=BUDGET))


RUN = {
    "Expand": ([1, 4], {"s": ints(1 << 24, 4)}, [make("Expand", ["x", "s"], ["y"])]),
    "Tile": ([1, 4], {"s": ints(1 << 24, 4)}, [make("Tile", ["x", "s"], ["y"])]),
    "outer product": ([1, 9999], {}, [make("Transpose", ["x"], ["t"]), make("MatMul", ["t", "x"], ["y"])]),
    "outer sum": ([1, 9999], {}, [make("Transpose", ["x"], ["t"]), make("Add", ["t", "x"], ["y"])]),
    "Pad": ([1, 4], {"p": ints(0, 1 << 28, 0, 0)}, [make("Pad", ["x", "p"], ["y"])]),
    "Pad by its edge": ([1, 4], {"p": ints(0, 1 << 28, 0, 0)}, [make("Pad", ["x", "p"], ["y"], mode="edge")]),
    "a wide filter": ([1, 1, 1, 1], {"w": np.ones((1, 1, 1, 1), "f")},
                      [make("Conv", ["x", "w"], ["y"], pads=[0, 1 << 29, 0, 1 << 29])]),
    "many filters": ([1, 1, 99, 99], {"w": np.ones((9000, 1, 1, 1), "f")}, [make("Conv", ["x", "w"], ["y"])]),
    "many windows": ([1, 1, 1, 9000], {"w": np.ones((1, 1, 1, 4000), "f")},
                     [make("Conv", ["x", "w"], ["y"], pads=[0, 40000, 0, 40000])]),
    "strides of zeros": ([1, 1, 9, 9], {"w": np.ones((1, 1, 1, 1), "f")},
                         [make("ConvTranspose", ["x", "w"], ["y"], strides=[1 << 12, 1 << 12])]),
    "output_padding": ([1, 1, 9, 9], {"w": np.ones((1, 1, 1, 1), "f")},
                       [make("ConvTranspose", ["x", "w"], ["y"], strides=[1, 1 << 23], output_padding=[0, 1 << 22])]),
    "a wide pool": ([1, 1, 9, 9], {}, [make("MaxPool", ["x"], ["y"], kernel_shape=[1 << 22, 9],
                                            pads=[1 << 21, 0, 1 << 21, 0])]),
    "a pool of many taps": ([1, 1, 9, 1], {}, [make("AveragePool", ["x"], ["y"], kernel_shape=[8000, 1],
                                                    pads=[7999, 0, 7999, 0])]),
    "Gather": ([1, 4], {"i": ints(*[0] * 60_000)}, [make("Gather", ["x", "i"], ["t"]),
                                                    make("Gather", ["t", "i"], ["y"], axis=1)]),
    "Concat chain": ([1, 4], {}, [make("Concat", ["x", "x"], ["v0"], axis=1),
                                  *(make("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=1) for i in range(40)),
                                  make("Identity", ["v40"], ["y"])]),
    "many values at a time": ([1, 200], {"s": ints(600, 1)},
                              [*(make("Tile", ["x", "s"], [f"v{i}"]) for i in range(30)),
                               make("Sum", [f"v{i}" for i in range(30)], ["y"])]),
    "Einsum": ([1, 999], {}, [make("Einsum", ["x", "x", "x"], ["y"], equation="ai,aj,ak->ijk")]),
}  # fmt: skip


BEFORE = ("many values at a time", "Concat chain", "Gather", "outer product", "outer sum")  # the last node


@pytest.mark.parametrize("name", RUN)
def test_values_of_a_prediction_stay_within_the_budget(tmp_path, name):
    shape, arrays, nodes = RUN[name]
    path = write(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], arrays)
    model = xpnet.load_onnx(path, max_bytes=BUDGET)
    x = np.ones(shape, "f")
    error = bounded(lambda: model.predict(x))
    assert nodes[-1].op_type in str(error) or name in BEFORE


LONG_WORK = {
    "max": ([1, 1, 5000, 5000], {}, [make("MaxPool", ["x"], ["y"], kernel_shape=[4000, 4000])]),
    "max of other strides": ([1, 1, 5000, 5000], {}, [make("MaxPool", ["x"], ["y"], kernel_shape=[4000, 4000],
                                                             pads=[0, 1, 0, 2])]),
    "average": ([1, 8, 1, 300_000], {}, [make("AveragePool", ["x"], ["y"], kernel_shape=[1, 4000])]),
    "norm": ([1, 8, 1, 300_000], {}, [make("LpPool", ["x"], ["y"], kernel_shape=[1, 4000])]),
    "filters": ([1, 1, 99, 99], {"w": np.ones((16, 1, 64, 64), "f")},
                [make("Conv", ["x", "w"], ["y"], pads=[1900] * 4)]),
    "products": ([1, 1], {"s": ints(8000, 8000)},
                 [make("ConstantOfShape", ["s"], ["z"]), make("Add", ["z", "x"], ["v0"]),
                  *(make("MatMul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(3)),
                  make("Identity", ["v3"], ["y"])]),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_WORK)
def test_work_that_the_inputs_do_not_account_for_is_refused_before_it_is_done(tmp_path, name, monkeypatch):
    shape, arrays, nodes = LONG_WORK[name]
    monkeypatch.setattr(run, "apply", lambda op, *inputs, **options: Tensor(np.empty(_made(op, inputs, options), "f")))
    path = write(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], arrays)
    model = xpnet.load_onnx(path)
    with pytest.raises(DataError, match=r"inputs of this size|images of this size") as caught:
        model.predict(np.empty(shape, "f"))
    assert "raise max_bytes" in str(caught.value)
    assert "\n" not in str(caught.value)


def _made(op, inputs, options):
    return limits.result_shape(op, [tuple(x.shape) for x in inputs], options)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("dilation", [1, 3])
def test_averages_divide_by_the_pixels_that_a_window_has(tmp_path, dilation, include):
    node = make("AveragePool", ["x"], ["y"], kernel_shape=[4], pads=[2, 3], strides=[2], dilations=[dilation],
                count_include_pad=include, ceil_mode=1)  # fmt: skip
    x = rng().standard_normal((2, 3, 17)).astype("f")
    got = xpnet.load_onnx(write(tmp_path / "m.onnx", [node], {"x": x.shape}, ["y"], {}, 19)).predict(x)
    want: Any = np.zeros(got.shape)
    for i in range(want.shape[2]):
        taps = [2 * i - 2 + dilation * t for t in range(4)]
        inside = [t for t in taps if 0 <= t < 17]
        many = len([t for t in taps if -2 <= t < 20]) if include else len(inside)
        want[:, :, i] = x[:, :, inside].sum(-1) / max(1, many)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_response_norm_over_more_channels_than_there_are_sums_those_that_are_there(tmp_path):
    x = rng().normal(size=(1, 3, 2, 2)).astype("f")
    size = 10**9 + 1
    path = write(tmp_path / "m.onnx", [make("LRN", ["x"], ["y"], size=size, alpha=1e9)], {"x": [1, 3, 2, 2]}, ["y"], {})
    wanted = x / (1 + 1e9 / size * (x * x).sum(1, keepdims=True)) ** 0.75
    np.testing.assert_allclose(xpnet.load_onnx(path).predict(x), wanted, rtol=1e-5)


def test_fifty_thousand_nodes_load_and_run(tmp_path):
    count = 50_000 if LONG else 10_000
    nodes = [make("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    path = write(tmp_path / "m.onnx", nodes, {"v0": [1, 2]}, [f"v{count}"], {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    model = xpnet.load_onnx(path)
    np.testing.assert_array_equal(model(np.array([[-1, 2]], "f")).numpy(), [[0, 2]])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < count / 1000  # it is a third; a square is 100


def damaged(data: bytes, source: random.Random) -> bytes:
    copy = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 3))):
        copy[source.randrange(len(copy))] = source.randrange(256)
    return bytes(copy[: source.randrange(len(copy))] if source.random() < 0.25 else copy)


def test_bytes_that_are_changed_or_missing_give_one_line_or_a_model(tmp_path):
    source, path = random.Random(5), tmp_path / "d.onnx"
    files = [lenet(tmp_path / "a.onnx").read_bytes(), mlp(tmp_path / "b.onnx").read_bytes()]
    inputs = [np.ones((1, 1, 12, 12), "f"), np.ones((1, 6), "f")]
    outcomes = {"model": 0, "error": 0}
    for i in range(15_000 if LONG else 300):
        path.write_bytes(damaged(files[i % 2], source))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                model = xpnet.load_onnx(path, max_bytes=BUDGET)
                model(inputs[i % 2])
                outcomes["model"] += 1
            except XpnetError as error:
                outcomes["error" if "\n" not in str(error) else "lines"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("share", [0, 1, 10, 50, 99])
def test_a_file_that_is_cut_says_so(tmp_path, share):
    path = lenet(tmp_path / "m.onnx")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * share // 100])
    with pytest.raises(DataError, match=r"m\.onnx: "):
        xpnet.load_onnx(path)


def test_a_file_of_millions_of_empty_nodes_is_not_parsed(tmp_path):
    path, graph = tmp_path / "m.onnx", b"\x0a\x00" * 4_000_000  # 8 MB would unpack to some 500 MB
    size = len(graph)
    length = bytes((size >> shift & 127) | 128 for shift in (0, 7, 14)) + bytes([size >> 21])
    path.write_bytes(b"\x08\x08" + b"\x3a" + length + graph + b"\x42\x02\x10\x11")
    with pytest.raises(DataError, match="fields"):
        xpnet.load_onnx(path)


def test_a_sparse_file_is_not_read(tmp_path):
    path = lenet(tmp_path / "m.onnx")
    os.truncate(path, 1 << 30)
    assert "bytes" in str(bounded(lambda: xpnet.load_onnx(path)))
    os.truncate(path, 1 << 40)
    assert "2 GiB" in str(bounded(lambda: xpnet.load_onnx(path)))


def test_messages_within_messages_are_bounded(tmp_path):
    data = b""
    for tag in (b"\x32", b"\x2a", b"\x0a") * 60:  # a graph of an attribute of a node of a graph
        size = len(data)
        data = tag + bytes([size & 127 | 128, size >> 7]) + data
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + bytes([len(data) & 127 | 128, len(data) >> 7]) + data)
    assert "nested" in str(bounded(lambda: xpnet.load_onnx(path)))


def claims(path, **changes):
    """Write an MLP one of whose initializers claims something else."""
    file = onnx.load(mlp(path))
    array = file.graph.initializer[0]
    for name, value in changes.items():
        if name == "dims":
            del array.dims[:]
            array.dims.extend(value)
        else:
            setattr(array, name, value)
    path.write_bytes(file.SerializeToString())
    return path


@pytest.mark.parametrize(
    "changes",
    [{"dims": [1 << 40, 6]}, {"dims": [-5, -6]}, {"dims": [5, 7]}, {"dims": [0]}, {"dims": [1 << 62, 1 << 62]},
     {"raw_data": b"123"}, {"data_type": 8}, {"data_type": 99}, {"data_type": 11}, {"dims": [1] * 60}],
    ids=lambda c: str(c)[:24],
)  # fmt: skip
def test_arrays_that_claim_other_sizes_are_refused(tmp_path, changes):
    error = bounded(lambda: xpnet.load_onnx(claims(tmp_path / "m.onnx", **changes)))
    assert "initializer 'w1'" in str(error)


def external(folder, location, array=None, **more):
    """Write an MLP whose first weights are in a file beside it."""
    path = folder / "m.onnx"
    file = onnx.load(mlp(path))
    weights = file.graph.initializer[0]
    if array is not None:
        (folder / array).write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        weights.external_data.add(key=key, value=value)
    path.write_bytes(file.SerializeToString())
    return path


def test_arrays_in_a_file_beside_the_model_are_read(tmp_path):
    wanted = xpnet.load_onnx(mlp(tmp_path / "w.onnx")).predict(np.ones((1, 6), "f"))
    model = xpnet.load_onnx(external(tmp_path, "weights.bin", "weights.bin", offset="0", length="120"))
    np.testing.assert_array_equal(model.predict(np.ones((1, 6), "f")), wanted)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "..\\weights.bin", "a/../../weights.bin", "",
                                      "C:\\weights.bin", "\0", ".", "link.bin", "linked/weights.bin"])  # fmt: skip
def test_arrays_outside_of_the_models_folder_are_not_read(tmp_path, location):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(120))
    (inner / "link.bin").symlink_to(tmp_path / "weights.bin")
    (inner / "linked").symlink_to(tmp_path)
    with pytest.raises(DataError, match="the model's own folder"):
        xpnet.load_onnx(external(inner, location))


@pytest.mark.parametrize("more", [{"length": "121"}, {"offset": "8"}, {"offset": "-1"}, {"length": "x"},
                                  {"offset": str(1 << 50)}])  # fmt: skip
def test_external_arrays_of_other_sizes_are_refused(tmp_path, more):
    bounded(lambda: xpnet.load_onnx(external(tmp_path, "weights.bin", "weights.bin", **more)))


def test_a_fifo_or_a_folder_beside_the_model_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    for name in ("pipe", "sub", "absent"):
        with pytest.raises(DataError):
            xpnet.load_onnx(external(tmp_path, name))


def test_many_arrays_of_one_file_are_refused(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(4 << 20))
    arrays = []
    for i in range(40):
        array = TensorProto(name=f"a{i}", data_type=1, dims=[1 << 20], data_location=TensorProto.EXTERNAL)
        array.external_data.add(key="location", value="w.bin")
        arrays.append(array)
    graph = helper.make_graph(
        [make("Sum", [a.name for a in arrays], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, None)], arrays
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert "share" in str(bounded(lambda: xpnet.load_onnx(path)))


def refused(tmp_path, nodes, inputs=None, outputs=("y",), arrays=None, **more):
    path = write(tmp_path / "m.onnx", nodes, inputs or {"x": ["N", 4]}, list(outputs), arrays or {}, **more)
    return str(bounded(lambda: xpnet.load_onnx(path)))


def test_all_ops_that_are_not_read_are_named_once(tmp_path):
    nodes = [make("Foo", ["x"], ["a"], name="first"), make("Foo", ["a"], ["b"]), make("Relu", ["b"], ["c"]),
             make("Bar", ["c"], ["y"], domain="com.acme")]  # fmt: skip
    assert refused(tmp_path, nodes).endswith(
        "m.onnx: ops that are not read: Foo (node 'first', opset 17), com.acme.Bar (node 'Bar_3', opset 17)"
    )


def test_nodes_that_no_output_needs_are_left_out(tmp_path):
    nodes = [make("Foo", ["x"], ["a"]), make("Relu", ["x"], ["y"])]
    model = xpnet.load_onnx(write(tmp_path / "m.onnx", nodes, {"x": ["N", 4]}, ["y"], {}))
    assert [node.op for node in model.plan.nodes] == ["Relu"]


@pytest.mark.parametrize(
    ("nodes", "words"),
    {
        "cycle": ([make("Add", ["x", "b"], ["a"]), make("Relu", ["a"], ["b"]), make("Relu", ["b"], ["y"])], "cycle"),
        "itself": ([make("Add", ["x", "y"], ["y"])], "cycle"),
        "twice": ([make("Relu", ["x"], ["y"]), make("Tanh", ["x"], ["y"])], "names of their own"),
        "the input": ([make("Relu", ["x"], ["x"]), make("Relu", ["x"], ["y"])], "names of their own"),
        "nowhere": ([make("Add", ["x", "z"], ["y"])], "got name 'z'"),
        "no output": ([make("Relu", ["x"], ["z"])], "got name 'y'"),
        "inputs": ([make("Relu", ["x", "x"], ["y"])], "expected 1 input, got inputs 2"),
        "left out": ([make("Add", ["x", ""], ["y"])], "inputs that the op needs"),
        "attribute": ([make("Relu", ["x"], ["y"], alpha=1.0)], "got attribute 'alpha'"),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else "nodes",
)
def test_graphs_that_hold_no_graph_are_refused(tmp_path, nodes, words):
    assert words in refused(tmp_path, nodes)


def test_nodes_may_stand_in_any_order(tmp_path):
    nodes = [make("Relu", ["a"], ["y"]), make("Neg", ["x"], ["a"])]
    model = xpnet.load_onnx(write(tmp_path / "m.onnx", nodes, {"x": ["N", 1]}, ["y"], {}))
    np.testing.assert_array_equal(model.predict(np.array([[-2.0]], "f")), [[2]])


def predicted(tmp_path, nodes, shape, x, arrays=None, **more):
    path = write(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], arrays or {}, **more)
    return str(bounded(lambda: xpnet.load_onnx(path)(x)))


def test_inputs_of_other_shapes_and_kinds_are_refused(tmp_path):
    nodes, x = [make("Relu", ["x"], ["y"])], np.ones((2, 4), "f")
    assert "x of shape (N, 5), got x (2, 4)" in predicted(tmp_path, nodes, ["N", 5], x)
    assert "x of shape (N, 4, 1), got x (2, 4)" in predicted(tmp_path, nodes, ["N", 4, 1], x)
    assert "floating" in predicted(tmp_path, nodes, ["N", 4], np.ones((2, 4), np.int64))
    assert "1 input: x, got inputs 2" in str(bounded(lambda: xpnet.load_onnx(tmp_path / "m.onnx")(x, x)))


def test_nodes_that_do_not_fit_their_input_name_themselves(tmp_path):
    x = np.ones((2, 4), "f")
    gemm = [make("Gemm", ["x", "w"], ["y"], name="fc")]
    assert "Gemm node 'fc'" in predicted(tmp_path, gemm, ["N", 4], x, {"w": np.ones((5, 3), "f")})
    assert "dtype" in predicted(tmp_path, gemm, ["N", 4], x, {"w": np.ones((4, 3), "d")})
    bad = [make("Reshape", ["x", "s"], ["y"], name="r")]
    assert "Reshape node 'r'" in predicted(tmp_path, bad, ["N", 4], x, {"s": ints(3, -1)})
    assert "Reshape node 'r'" in predicted(tmp_path, bad, ["N", 4], x, {"s": ints(-2, -4)})


def test_arguments_are_checked(tmp_path):
    path = mlp(tmp_path / "m.onnx")
    for bad in ({"inputs": "x"}, {"output": 3}, {"output": "z"}, {"max_bytes": 0}):
        with pytest.raises(ConfigError):
            xpnet.load_onnx(path, **bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="no such file"):
        xpnet.load_onnx(tmp_path / "absent.onnx")
    with pytest.raises(DataError, match="regular file"):
        xpnet.load_onnx(tmp_path)


def test_a_file_that_is_absent_is_reported_before_a_library_that_is(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DataError, match="no such file"):
        xpnet.load_onnx(tmp_path / "absent.onnx")
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"xpnet\[onnx\]"):
        xpnet.load_onnx(path)
