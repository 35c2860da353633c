"""Models of xpnet that go out as ONNX and come back, and models of ONNX that are trained and go out again."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from tests.interop.onnx.exporting import ran, randomized
from tests.interop.onnx.graphs import lenet, mlp, rng, write
from tests.interop.onnx.test_export_models import SMALL
from xpnet import Tensor, data, models, nn, ops
from xpnet.errors import ConfigError, ShapeError
from xpnet.train import Trainer

make = pytest.importorskip("onnx.helper").make_node


@pytest.mark.parametrize("name", SMALL)
def test_a_model_of_the_zoo_comes_back_with_the_same_scores(name, tmp_path):
    model, shape = SMALL[name]()
    randomized(model)
    xpnet.export_onnx(model, tmp_path / "m.onnx", shape)
    back = xpnet.load_onnx(tmp_path / "m.onnx")
    x = rng().normal(size=(3, *shape)).astype("f")
    wanted = model.predict(x)
    np.testing.assert_allclose(back.predict(x), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert back.parameter_count == model.parameter_count
    assert back.input_shape == shape
    if not any(layer.across_batch for _, layer in model.modules()):  # dropout draws by other names
        return
    assert len(back.states()) == len(model.states())


def test_a_model_comes_back_on_another_backend(tmp_path, backend):
    model, shape = SMALL["cnn"]()
    randomized(model)
    xpnet.export_onnx(model, tmp_path / "m.onnx", shape)
    back = xpnet.load_onnx(tmp_path / "m.onnx").to(backend)
    x = rng().normal(size=(2, *shape)).astype("f")
    np.testing.assert_allclose(back.predict(x), model.predict(x), rtol=1e-4, atol=1e-4)


def test_training_goes_on_as_it_would_have(tmp_path):
    """Gradients and running averages of a network with batch norm are those of the model that was exported."""
    model, shape = SMALL["resnet20"]()
    randomized(model)
    xpnet.export_onnx(model, tmp_path / "m.onnx", shape)
    back = xpnet.load_onnx(tmp_path / "m.onnx")
    x, labels = rng().normal(size=(6, *shape)).astype("f"), rng(1).integers(0, 5, 6)
    for network in (model, back):
        network.train()
        Trainer(network, xpnet.optim.SGD(network.parameters(), lr=0.05), capture=False, threads=1).fit(
            data.from_arrays(x, labels, list("abcde")), epochs=2, batch_size=6
        )
    np.testing.assert_allclose(back.predict(x), model.predict(x), rtol=2e-3, atol=2e-3)


def test_a_model_of_onnx_is_fine_tuned_on_digits_and_exported_again(tmp_path):
    train, test = data.load("digits")
    lenet(tmp_path / "m.onnx", side=8, classes=10)
    model = xpnet.load_onnx(tmp_path / "m.onnx", inputs="nhwc")
    trainer = Trainer(model, xpnet.optim.Adam(model.parameters(), lr=0.01), seed=3)
    before = trainer.model.predict(np.zeros((1, 8, 8, 1), "f"))
    history = trainer.fit(train, test, epochs=3)
    assert history[-1]["test_accuracy"] > 0.85
    assert not np.allclose(before, model.predict(np.zeros((1, 8, 8, 1), "f")))
    xpnet.export_onnx(model, tmp_path / "again.onnx", (8, 8, 1))
    x = rng().normal(size=(4, 8, 8, 1)).astype("f")
    wanted = model.predict(x)
    np.testing.assert_allclose(ran(tmp_path / "again.onnx", x), wanted, rtol=1e-4, atol=1e-4)
    back = xpnet.load_onnx(tmp_path / "again.onnx")
    np.testing.assert_allclose(back.predict(x), wanted, rtol=1e-4, atol=1e-4)
    kinds = [node.op for node in back.plan.nodes]
    assert "Transpose" not in kinds
    assert kinds.count("Conv") == 2


def test_names_of_layers_come_back(tmp_path):
    model = models.build("lenet5", (12, 12, 1), 4)
    xpnet.export_onnx(model, tmp_path / "m.onnx", (12, 12, 1))
    back = xpnet.load_onnx(tmp_path / "m.onnx")
    own = [path for path, layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [name.rpartition("_")[0] for name in back.layers] == own


def test_images_of_a_chain_are_moved_at_its_ends_only(tmp_path, monkeypatch):
    """Convolutions, activations, poolings and batch norm pass channels-last images on to each other."""
    path = lenet(tmp_path / "m.onnx")
    moved = []
    permute = ops.permute_dims

    def count(x, axes):
        if x.ndim == 4 and x.shape[0] == 7:  # the batch: no weight has 7 filters
            moved.append(axes)
        return permute(x, axes)

    monkeypatch.setattr(ops, "permute_dims", count)
    xpnet.load_onnx(path)(Tensor(np.ones((7, 1, 12, 12), "f")))
    assert moved == [(0, 2, 3, 1), (0, 3, 1, 2)]  # at the first convolution, and at Flatten
    moved.clear()
    xpnet.load_onnx(path, inputs="nhwc")(Tensor(np.ones((7, 12, 12, 1), "f")))
    assert moved == [(0, 3, 1, 2)]


def test_images_come_out_as_they_went_in(tmp_path):
    w = rng().normal(size=(2, 3, 3, 3)).astype("f")
    path = write(tmp_path / "m.onnx", [make("Conv", ["x", "w"], ["y"])], {"x": ["N", 3, 6, 5]}, ["y"], {"w": w})
    x = rng(1).normal(size=(2, 3, 6, 5)).astype("f")
    first = xpnet.load_onnx(path).predict(x)
    last = xpnet.load_onnx(path, inputs="nhwc").predict(np.moveaxis(x, 1, -1))
    assert (first.shape, last.shape) == ((2, 2, 4, 3), (2, 4, 3, 2))
    np.testing.assert_allclose(np.moveaxis(last, -1, 1), first, rtol=1e-5, atol=1e-6)


def test_a_file_that_fixes_the_batch_predicts_batches_of_that_size(tmp_path):
    path, x = mlp(tmp_path / "m.onnx", batch=2), rng().normal(size=(6, 6)).astype("f")
    model, free = xpnet.load_onnx(path), xpnet.load_onnx(mlp(tmp_path / "n.onnx"))
    np.testing.assert_allclose(model.predict(x), free.predict(x), rtol=1e-5)
    with pytest.raises(ShapeError, match=r"N = 2, as the file fixes it, got N 5; .*free_batch"):
        model.predict(x[:5])
    model.train()
    with pytest.raises(ShapeError, match="free_batch"):
        model(x)


def test_a_fixed_batch_is_freed_through_constant_shapes(tmp_path):
    nodes = [make("Reshape", ["x", "s"], ["a"]), make("MatMul", ["a", "w"], ["y"])]
    arrays = {"s": np.array([1, -1]), "w": rng().normal(size=(12, 3)).astype("f")}
    path, x = tmp_path / "m.onnx", rng(1).normal(size=(5, 3, 4)).astype("f")
    write(path, nodes, {"x": [1, 3, 4]}, ["y"], arrays)
    wanted = x.reshape(5, 12) @ arrays["w"]
    model = xpnet.load_onnx(path, free_batch=True).train()
    np.testing.assert_allclose(model(x).numpy(), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(xpnet.load_onnx(path).predict(x), wanted, rtol=1e-5, atol=1e-6)


def test_shapes_are_computed_for_any_number_of_examples(tmp_path):
    """As PyTorch writes x.view(x.size(0), -1): by Shape, Gather, Concat, Range and ConstantOfShape."""
    r = rng()
    nodes = [
        make("Shape", ["x"], ["s"]),
        make("Gather", ["s", "zero"], ["n"]),
        make("Unsqueeze", ["n", "axes"], ["n1"]),
        make("Concat", ["n1", "minus"], ["to"], axis=0),
        make("Reshape", ["x", "to"], ["rows"]),
        make("ConstantOfShape", ["n1"], ["ones"]),
        make("Range", ["zero", "n", "one"], ["line"]),
        make("Cast", ["line"], ["places"], to=1),
        make("Add", ["ones", "places"], ["column"]),
        make("Unsqueeze", ["column", "one1"], ["column1"]),
        make("Mul", ["rows", "column1"], ["y"]),
    ]
    arrays = {"zero": np.array(0), "axes": np.array([0]), "minus": np.array([-1]), "one": np.array(1),
              "one1": np.array([1])}  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, {"x": ["N", 2, 3]}, ["y"], arrays)
    model = xpnet.load_onnx(path)
    for n in (1, 4, 7):
        x = r.normal(size=(n, 2, 3)).astype("f")
        np.testing.assert_allclose(model(x).numpy(), x.reshape(n, 6) * np.arange(n)[:, None], rtol=1e-6)


def test_constants_before_the_first_layer_are_kept_and_those_after_it_learned(tmp_path):
    arrays = {"mean": np.ones((3, 1, 1), "f"), "std": np.full((3, 1, 1), 2, "f"), "w": np.ones((2, 3, 1, 1), "f"),
              "scale": np.ones((2, 1, 1), "f"), "shift": np.ones((2, 1, 1), "f")}  # fmt: skip
    nodes = [make("Add", ["x", "mean"], ["a"]), make("Mul", ["a", "std"], ["b"]), make("Conv", ["b", "w"], ["c"]),
             make("Mul", ["c", "scale"], ["d"]), make("Add", ["d", "shift"], ["y"])]  # fmt: skip
    model = xpnet.load_onnx(write(tmp_path / "m.onnx", nodes, {"x": ["N", 3, 4, 4]}, ["y"], arrays))
    learned = {path for path, state in model.states().items() if isinstance(state, nn.Parameter)}
    assert learned == {"layers.Conv_2.weight", "layers.Mul_3.scale", "layers.Add_4.shift"}
    kept = {path for path, state in model.states().items() if isinstance(state, nn.Buffer)}
    assert kept == {"layers.Add_0.input1", "layers.Mul_1.input1"}


def test_a_shared_weight_is_one_parameter(tmp_path):
    nodes = [make("Gemm", ["x", "w"], ["a"], transB=1), make("Gemm", ["a", "w"], ["y"], transB=1)]
    path = write(tmp_path / "m.onnx", nodes, {"x": ["N", 3]}, ["y"], {"w": np.eye(3, dtype="f") * 2})
    model = xpnet.load_onnx(path)
    assert len(model.parameters()) == 1
    np.testing.assert_array_equal(model(np.ones((1, 3), "f")).numpy(), [[4, 4, 4]])


def test_several_outputs_are_a_tuple_and_any_value_can_be_chosen(tmp_path):
    nodes = [make("Neg", ["x"], ["a"]), make("Abs", ["a"], ["b"]), make("ArgMax", ["b"], ["c"], axis=1)]
    path, x = write(tmp_path / "m.onnx", nodes, {"x": ["N", 3]}, ["b", "c"], {}), np.array([[1, -5, 2]], "f")
    b, c = xpnet.load_onnx(path)(x)
    np.testing.assert_array_equal(b.numpy(), [[1, 5, 2]])
    np.testing.assert_array_equal(c.numpy(), [[1]])
    with pytest.raises(ConfigError, match="output"):
        xpnet.load_onnx(path).predict(x)
    np.testing.assert_array_equal(xpnet.load_onnx(path, output="a").predict(x), [[-1, 5, -2]])


def test_several_inputs_are_given_in_order_or_by_name(tmp_path):
    path = write(tmp_path / "m.onnx", [make("Sub", ["a", "b"], ["y"])], {"a": ["N", 2], "b": ["N", 2]}, ["y"], {})
    model, a, b = xpnet.load_onnx(path), np.ones((3, 2), "f"), np.full((3, 2), 4, "f")
    for found in (model(a, b), model(b=b, a=a), model(a, b=b)):
        np.testing.assert_array_equal(found.numpy(), np.full((3, 2), -3))
    np.testing.assert_array_equal(model.predict({"a": a, "b": b}), np.full((3, 2), -3))
    with pytest.raises(ConfigError, match="inputs a, b"):
        model(a, c=b)


def test_the_cost_is_that_of_the_layers(tmp_path):
    model, shape = SMALL["cnn"]()
    xpnet.export_onnx(model, tmp_path / "m.onnx", shape)
    back = xpnet.load_onnx(tmp_path / "m.onnx")
    assert back.cost(shape).macs == model.cost(shape).macs
    assert back.cost(shape).output == model.cost(shape).output
    assert xpnet.viz.summarize(back, shape).parameters == model.parameter_count
