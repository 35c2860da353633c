"""What an exported file says of itself, and what is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest

import xpnet
from tests.interop.onnx.exporting import Custom, agree, close, forward, ran, randomized, samples, session
from xpnet import data, models, nn, ops
from xpnet.autograd import apply
from xpnet.errors import ConfigError, ShapeError, XpnetError
from xpnet.interop.onnx import export as exporting
from xpnet.interop.onnx.export import OPSETS, export_onnx
from xpnet.interop.onnx.writing_ops import WRITERS, writer_of

IMAGE = (6, 5, 3)
LOSSES = {"binary_cross_entropy", "hinge_loss", "mean_squared_error", "perceptron_loss", "softmax_cross_entropy"}
TRAINING = {"ACTIVATIONS", "column_budget", "dropout", "moments", "random_dropout", "running_moments"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "m.onnx"


def small():
    return randomized(nn.Sequential(conv=nn.Conv2d(3, 4, 3), act=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(48, 2)))


def test_every_op_of_prediction_is_written():
    missing = {n for n in ops.__all__ if not callable(op := getattr(ops, n)) or writer_of(op) is None}
    assert missing == LOSSES | TRAINING
    assert len(WRITERS) >= len(ops.__all__) - len(missing)


def test_xpnet_exports_a_model(file):
    found = xpnet.export_onnx(small(), file, IMAGE)
    assert found.inputs == {"input": ("float32", ("N", 3, 6, 5))}
    assert found.outputs == {"output": ("float32", ("N", 2))}
    assert found.nodes == {"Conv": 1, "Relu": 1, "Flatten": 1, "Gemm": 1}
    assert (found.opset, found.numbers, found.size) == (21, 3 * 9 * 4 + 4 + 48 * 2 + 2, file.stat().st_size)


def test_nodes_and_weights_have_the_names_of_layers(file):
    export_onnx(small(), file, IMAGE)
    graph = onnx.load(file).graph
    assert [node.name for node in graph.node] == ["conv/Conv", "act/Relu", "flat/Flatten", "fc/Gemm"]
    assert [array.name for array in graph.initializer] == ["conv.weight", "conv.bias", "fc.bias", "fc.weight"]


@pytest.mark.parametrize("opset", OPSETS)
def test_the_file_is_of_the_opset_that_is_asked_for(opset, file):
    export_onnx(small(), file, IMAGE, opset=opset)
    model = onnx.load(file)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", opset)]
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)
    assert (model.producer_name, model.producer_version) == ("xpnet", xpnet.__version__)


def test_the_dimension_of_examples_has_a_name_or_a_size(file):
    assert export_onnx(small(), file, IMAGE, batch="batch").inputs["input"][1] == ("batch", 3, 6, 5)
    assert export_onnx(small(), file, IMAGE, batch=4, inputs="nhwc").inputs["input"][1] == (4, 6, 5, 3)
    assert session(file).get_outputs()[0].shape == [4, 2]


def test_normalization_and_probabilities_are_part_of_the_file(file):
    model = small()
    pixels = np.random.default_rng(0).integers(0, 256, (3, *IMAGE)).astype(np.float32)
    normalize = data.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    for layout, transposes in (("nchw", 0), ("nhwc", 1)):
        found = export_onnx(model, file, IMAGE, inputs=layout, normalize=normalize, finish="softmax")
        assert found.nodes.get("Transpose", 0) == transposes
        scores = model.predict(normalize(pixels))
        expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        close(ran(file, pixels, layout), expected)
    facts = json.loads({p.key: p.value for p in onnx.load(file).metadata_props}["input"])
    assert facts == {"layout": "nhwc", "normalization_included": [normalize.to_json()]}


def test_one_mean_for_all_channels_is_one_number(file):
    model = randomized(nn.Linear(6, 3))
    normalize = data.Normalize((3.0,), (2.0,), 1.0)
    export_onnx(model, file, (6,), normalize=normalize, finish="sigmoid")
    x = samples((6,), 3)
    close(ran(file, x), 1 / (1 + np.exp(-model.predict(normalize(x)))))


def test_classes_and_other_facts_are_in_the_metadata(file):
    export_onnx(small(), file, IMAGE, classes=("cat", "Hündin"), metadata={"task": "classification"})
    props = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert json.loads(props["classes"]) == ["cat", "Hündin"]
    assert props["task"] == "classification"
    assert session(file).get_modelmeta().custom_metadata_map == props


def test_a_model_of_several_inputs_has_their_names(file):
    model = randomized(Custom(lambda self, image, row: self.fc(image.mean(axis=(1, 2))) + row, fc=nn.Linear(3, 4)))
    shape = {"image": IMAGE, "row": (4,)}
    agree(model, shape, file, expected=lambda x: forward(model, x))
    assert [i.name for i in session(file).get_inputs()] == ["image", "row"]
    agree(model, (IMAGE, (4,)), file, expected=lambda x: forward(model, x), layout="nhwc")
    assert [i.name for i in session(file).get_inputs()] == ["input0", "input1"]


def test_several_inputs_are_normalized_each_by_its_own(file):
    model = Custom(lambda self, a, b: a * 1.0 + b)
    normalize = (None, data.Normalize((1.0,), (2.0,), 1.0))
    export_onnx(model, file, ((3,), (3,)), normalize=normalize)
    a, b = samples(((3,), (3,)), 2)
    close(ran(file, (a, b)), a + (b - 1) / 2)


def test_a_model_of_several_outputs_has_their_names(file):
    model = randomized(
        Custom(lambda self, x: {"scores": self.fc(x), "same": self.fc(x), "input": x}, fc=nn.Linear(6, 3))
    )
    found = export_onnx(model, file, (6,))
    assert list(found.outputs) == ["scores", "same", "input_2"]
    x = samples((6,), 3)
    for theirs, ours in zip(ran(file, x), forward(model, x), strict=True):
        close(theirs, ours)
    turned = Custom(lambda self, x: [y := x * 2.0, y.permute(1, 0)])
    export_onnx(turned, file, (6,))
    close(ran(file, x)[1], x.T * 2)
    twice = Custom(lambda self, x: [y := x * 2.0, y])
    assert list(export_onnx(twice, file, (6,)).outputs) == ["output0", "output1"]
    close(ran(file, x)[1], x * 2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_model_keeps_its_dtype(dtype, file):
    model = randomized(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2)).to(dtype=dtype))
    agree(model, (6,), file, dtype=dtype, tolerance=5e-3 if dtype == "float16" else 1e-10)
    images = randomized(models.build("cnn", (8, 8, 1), 3).to(dtype=dtype))
    export_onnx(images, file, (8, 8, 1))
    from onnx.reference import ReferenceEvaluator  # ONNX Runtime has no convolution of float64

    x = samples((8, 8, 1), 2, dtype)
    (y,) = ReferenceEvaluator(str(file)).run(None, {"input": x.transpose(0, 3, 1, 2)})
    assert y.dtype == dtype
    close(y, forward(images, x), 5e-3 if dtype == "float16" else 1e-10)


def test_nothing_is_written_to_the_model(file):
    model = models.build("cnn", (8, 8, 1), 3).train()
    before = {path: state.data for path, state in model.states().items()}
    export_onnx(model, file, (8, 8, 1))
    assert model.training
    assert all(state.data is before[path] for path, state in model.states().items())


def foreign(x):
    return x + 1, lambda dy, needs: (dy,)


REFUSED = {
    "an op of the user's": (lambda self, x: apply(foreign, x),
                            r"the op cannot be exported: op foreign, layer the model; compute"),
    "dropout": (lambda self, x: apply(ops.dropout, x, np.ones(x.shape, bool), rate=0.5),
                r"op dropout, layer the model; it has no form"),
    "a value that is read": (lambda self, x: x * float(x.max()),
                             r"Tensor.numpy reads .* layer the model, of the result of max"),
    "a number of examples": (lambda self, x: x * len(x), r"number that depends on the number of examples: op multiply"),
    "an array from elsewhere": (lambda self, x: x + x.data * 2, r"op add"),
    "no Tensor": (lambda self, x: x.data, r"expected a model that returns a Tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_one_line_and_no_file(name, file):
    model, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message) as caught:
        export_onnx(Custom(model), file, (6,))
    assert str(caught.value).startswith("export_onnx: ")
    assert "\n" not in str(caught.value)
    assert os.listdir(file.parent) == []


def test_the_layer_of_an_op_that_cannot_be_exported_is_named(file):
    with pytest.raises(ConfigError, match=r"op foreign, layer a\.b;"):
        export_onnx(nn.Sequential(a=nn.Sequential(b=Custom(lambda self, x: apply(foreign, x)))), file, (6,))


def test_a_model_of_more_than_2_gb_is_refused_before_it_is_made(file):
    with pytest.raises(ConfigError, match="a model of more than 2 GB"):
        export_onnx(nn.Linear(30_000, 30_000), file, (30_000,))


def test_a_file_that_is_not_valid_takes_no_place(file, monkeypatch):
    export_onnx(small(), file, IMAGE)
    before = file.read_bytes()
    monkeypatch.setattr(exporting, "_described", lambda stored, batch: (stored.dtype, (7,)))
    with pytest.raises(ConfigError, match="the nodes that were written are not valid"):
        export_onnx(small(), file, IMAGE)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


WRONG = {
    "inputs": "chw", "opset": 16, "batch": 0, "normalize": (1, 2), "finish": "relu", "classes": "ab",
    "metadata": {"a": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_out_of_range_is_named(name, file):
    with pytest.raises(ConfigError, match=name):
        export_onnx(small(), file, IMAGE, **{name: WRONG[name]})


@pytest.mark.parametrize("shape", ["ab", {}, {"a b": (3,)}, ((3,), 4), (0, 3), None])
def test_a_shape_that_is_none_is_refused(shape, file):
    with pytest.raises(XpnetError):
        export_onnx(small(), file, shape)


def test_a_shape_that_a_layer_cannot_take_is_its_own_error(file):
    with pytest.raises(ShapeError, match="conv"):
        export_onnx(small(), file, (6, 5, 2))


def test_a_folder_that_does_not_exist_is_named(file):
    with pytest.raises(XpnetError, match="cannot be written"):
        export_onnx(small(), file.parent / "none" / "m.onnx", IMAGE)


def test_the_absence_of_onnx_is_one_line(file, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"onnx is not installed; pip install 'xpnet\[onnx\]'"):
        export_onnx(small(), file, IMAGE)
