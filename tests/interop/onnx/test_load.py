"""xpnet.load_onnx: a model of ONNX that predicts, trains and moves, as ONNX Runtime computes it."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import Tensor, nn
from xpnet.interop.onnx import registry
from xpnet.interop.onnx.values import Value
from xpnet.train import Trainer

pytest.importorskip("onnx")
from onnx import helper

from tests.interop.onnx.graphs import lenet, mlp, rng, runtime, write


@pytest.fixture
def images():
    return rng(3).normal(size=(3, 1, 12, 12)).astype("f")


def test_an_mlp_gives_the_scores_of_onnx_runtime(tmp_path):
    path, x = mlp(tmp_path / "m.onnx"), rng().normal(size=(4, 6)).astype("f")
    np.testing.assert_allclose(xpnet.load_onnx(path).predict(x), runtime(path, x)[0], rtol=1e-5, atol=1e-6)


def test_a_convolutional_network_gives_the_scores_of_onnx_runtime(tmp_path, images):
    path = lenet(tmp_path / "m.onnx")
    model = xpnet.load_onnx(path)
    np.testing.assert_allclose(model.predict(images), runtime(path, images)[0], rtol=1e-5, atol=1e-5)
    last = xpnet.load_onnx(path, inputs="nhwc")
    wanted = runtime(path, images)[0]
    np.testing.assert_allclose(last.predict(np.moveaxis(images, 1, -1)), wanted, rtol=1e-5, atol=1e-5)


def test_weights_are_parameters_and_running_statistics_buffers(tmp_path):
    model = xpnet.load_onnx(lenet(tmp_path / "m.onnx"))
    shapes = {path: state.shape for path, state in model.states().items() if isinstance(state, nn.Parameter)}
    assert shapes == {
        "layers.conv1.weight": (3, 5, 5, 1), "layers.conv1.bias": (3,), "layers.norm1.scale": (3,),
        "layers.norm1.bias": (3,), "layers.conv2.weight": (5, 3, 3, 3), "layers.fc.weight": (4, 45),
        "layers.fc.bias": (4,),
    }  # fmt: skip
    buffers = {path for path, state in model.states().items() if isinstance(state, nn.Buffer)}
    assert buffers == {"layers.norm1.mean", "layers.norm1.var"}
    assert not model.training


def test_gradients_are_those_of_finite_differences(tmp_path, images):
    model = xpnet.load_onnx(lenet(tmp_path / "m.onnx")).to(dtype="float64")
    x = images.astype(np.float64)
    loss = (model(Tensor(x)) ** 2).sum()
    gradients = xpnet.backward(loss)
    for path in ("layers.conv1.weight", "layers.norm1.scale", "layers.fc.bias"):
        p = model.states()[path]
        d = rng(5).normal(size=p.shape)
        values, sides = p.numpy(), []
        for step in (1e-6, -1e-6):
            p.data = values + step * d
            sides.append(float((model(Tensor(x)) ** 2).sum()))
        p.data = values
        assert np.sum(gradients[p] * d) == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5)


def test_training_uses_the_batch_renews_averages_and_drops(tmp_path, images):
    model = xpnet.load_onnx(lenet(tmp_path / "m.onnx"))
    x, before = Tensor(images), model.state_dict()
    calm = model(x).numpy()
    model.train()
    lively = model(x).numpy()
    assert not np.allclose(calm, lively, atol=1e-3)
    assert not np.allclose(lively, model(x).numpy(), atol=1e-4)  # another draw
    after = model.state_dict()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"layers.norm1.mean", "layers.norm1.var"}


def test_a_model_moves_to_another_backend(tmp_path, images, backend):
    path = lenet(tmp_path / "m.onnx")
    model = xpnet.load_onnx(path).to(backend)
    y = model(Tensor(backend.from_numpy(images)))
    assert y.backend.name == backend.name
    np.testing.assert_allclose(backend.to_numpy(y.data), runtime(path, images)[0], rtol=1e-4, atol=1e-4)


def test_a_trainer_learns_with_it(tmp_path):
    model = xpnet.load_onnx(lenet(tmp_path / "m.onnx"), inputs="nhwc")
    r = rng(7)
    x = r.normal(size=(64, 12, 12, 1)).astype("f")
    y = (x[:, :6].mean((1, 2, 3)) > 0) * 2 + (x[:, 6:].mean((1, 2, 3)) > 0)
    history = Trainer(model, seed=1).fit((x, y.astype(np.int64)), epochs=6, batch_size=16)
    losses = [epoch["train_loss"] for epoch in history]
    assert losses[-1] < 0.8 * losses[0]


def test_copies_and_pickles_give_the_same_scores(tmp_path, images):
    model = xpnet.load_onnx(lenet(tmp_path / "m.onnx"))
    scores = model.predict(images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(images), scores)


def test_values_are_saved_and_loaded_into_the_same_graph(tmp_path, images):
    path = lenet(tmp_path / "m.onnx")
    model = xpnet.load_onnx(path)
    model.layers["fc"].bias.data += 1.0  # pyright: ignore[reportAttributeAccessIssue]
    model.save(tmp_path / "m.safetensors")
    again = xpnet.load(tmp_path / "m.safetensors", xpnet.load_onnx(path))
    np.testing.assert_array_equal(again.predict(images), model.predict(images))


def test_a_value_is_arranged_in_each_order_that_is_asked_for():
    x = rng().normal(size=(2, 3, 4, 5)).astype("f")
    value = Value(Tensor(np.transpose(x, (0, 2, 3, 1))), (0, 2, 3, 1))
    assert value.shape == x.shape
    for order in (None, (3, 0, 1, 2), (0, 2, 3, 1), None, (1, 0, 2, 3)):
        np.testing.assert_array_equal(value.arranged(order).numpy(), np.transpose(x, order or (0, 1, 2, 3)))


@pytest.mark.parametrize(("n", "scale"), [(20, 0.7), (6, 1.6), (7, 2.4), (30, 2.3)])
def test_scales_that_float32_rounds_give_the_pixels_of_onnx_runtime(tmp_path, n, scale):
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric")  # fmt: skip
    scales = {"s": np.array([1, 1, scale, 1], np.float32)}
    path = write(tmp_path / "m.onnx", [node], {"x": ["N", 1, n, 2]}, ["y"], scales)
    x = np.arange(2 * n, dtype=np.float32).reshape(1, 1, n, 2)
    np.testing.assert_array_equal(xpnet.load_onnx(path)(x).numpy(), runtime(path, x)[0])


def test_weights_that_a_file_holds_once_for_several_layers_are_parameters_of_each(tmp_path):
    nodes = [
        helper.make_node("Identity", ["b"], ["b2"]),
        helper.make_node("Identity", ["b2"], ["b3"]),
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="one"),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["i"], name="two"),
        helper.make_node("Add", ["i", "b3"], ["y"], name="three"),
    ]
    weights = {"w": rng(0).normal(size=(3, 3)).astype("f"), "w2": rng(1).normal(size=(3, 3)).astype("f")}
    path = write(
        tmp_path / "m.onnx", nodes, {"x": ["N", 3]}, ["y"], {**weights, "b": rng(2).normal(size=3).astype("f")}
    )
    model, x = xpnet.load_onnx(path), rng(3).normal(size=(4, 3)).astype("f")
    np.testing.assert_allclose(model(x).numpy(), runtime(path, x)[0], rtol=1e-5, atol=1e-6)
    assert len(model.parameters()) == 5
    model(x).sum().backward()
    layers: Any = model.layers
    one, two = (np.asarray(layers[name].bias.grad) for name in ("one", "two"))
    np.testing.assert_allclose(two, [4, 4, 4], rtol=1e-5)
    np.testing.assert_allclose(one, 4 * weights["w2"].sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("finish", [False, True], ids=["scores", "answers"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_trained_model_is_opened_by_reading_its_file_once(tmp_path, monkeypatch, layout, finish):
    from xpnet.interop.onnx import trained

    nodes = [helper.make_node("Flatten", ["x"], ["t"]), helper.make_node("Gemm", ["t", "w"], ["s"])]
    nodes.append(helper.make_node("Softmax" if finish else "Identity", ["s"], ["y"]))
    sizes = ["N", 3, 5, 5] if layout == "nchw" else ["N", 5, 5, 3]
    path = write(tmp_path / "m.onnx", nodes, {"x": sizes}, ["y"], {"w": rng().normal(size=(75, 4)).astype("f")})
    opened, real = [], trained.parse_onnx
    monkeypatch.setattr(trained, "parse_onnx", lambda file: opened.append(file) or real(file))
    model, meta = trained.open_onnx(path, scale=1.0)
    assert (opened, meta["shape"]) == ([path], [5, 5, 3])
    x = rng().normal(size=(2, 5, 5, 3)).astype("f")
    wanted = runtime(path, np.moveaxis(x, -1, 1) if layout == "nchw" else x)[0]
    scores = model.model.predict(x)
    shown = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(shown / shown.sum(1, keepdims=True) if finish else scores, wanted, rtol=1e-4, atol=1e-5)


def test_what_an_op_is_to_a_graph_is_said_where_it_is_read():
    traits = {name: registry.find(name, 17) for name in ("Identity", "Dropout", "Add", "Mul", "Softmax", "Relu")}
    said = {name: (r.passes, r.drops, r.learned, r.finishes) for name, r in traits.items() if r is not None}
    assert said == {
        "Identity": (True, False, "", False),
        "Dropout": (False, True, "", False),
        "Add": (False, False, "shift", False),
        "Mul": (False, False, "scale", False),
        "Softmax": (False, False, "", True),
        "Relu": (False, False, "", False),
    }
    folder = Path(registry.__file__).parent
    named = [f.name for f in sorted(folder.glob("*.py")) if re.search(r"\.op(_type)? *(==|in) ", f.read_text())]
    assert named == []
