"""The graph of ops that a model computes, found by running it."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from xpnet import models, nn, ops
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError
from xpnet.interop.trace import Batch, trace

N = Batch()


class Custom(nn.Module):
    def __init__(self, forward, **parts):
        self.compute = forward
        self.seen = 0
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.compute(self, *inputs, **named)


def graph_of(forward, shape=(4,), batch=None, **parts):
    return trace("t", Custom(forward, **parts), shape, batch=batch)


def test_each_op_is_a_step_with_its_layer_and_sizes(backend):
    model = nn.Sequential(
        conv=nn.Conv2d(3, 4, 3), act=nn.ReLU(), flat=nn.Flatten(), drop=nn.Dropout(), fc=nn.Linear(36, 2)
    )
    graph = trace("t", model.to(backend), (5, 5, 3))
    steps = [(s.path, s.name, s.function, s.output.shape) for s in graph.steps]
    assert steps == [("conv", "conv2d", ops.conv2d, (N, 3, 3, 4)), ("act", "relu", ops.relu, (N, 3, 3, 4)),
                     ("flat", "flatten", ops.flatten, (N, 36)), ("fc", "linear", ops.linear, (N, 2))]  # fmt: skip
    conv = graph.steps[0]
    assert conv.inputs[0] is graph.inputs[""]
    assert [v.state for v in conv.values[1:]] == [model["conv"].weight, model["conv"].bias]
    np.testing.assert_array_equal(conv.values[1].array, model["conv"].weight.numpy())
    assert conv.options["stride"] == (1, 1)
    assert graph.outputs[""] is graph.steps[-1].output


def test_a_custom_forward_is_its_ops(backend):
    def forward(self, x):
        return (x - x.mean(axis=1, keepdims=True)) * self.scale + apply(ops.where, x > 0.5, x, -1.0)

    graph = graph_of(forward, scale=nn.Parameter((4,), nn.ones))
    assert [s.name for s in graph.steps] == ["mean", "subtract", "multiply", "gt", "where", "add"]
    assert graph.steps[3].function is operator.gt


def test_nothing_is_written_to_the_model():
    def forward(self, x):
        self.seen += 1
        self.total = self.total.data + 1
        return x + self.total

    model = Custom(forward, total=nn.Buffer((4,)))
    before = model.total.data
    trace("t", model, (4,))
    assert model.seen == 0
    assert model.total.data is before
    assert model.training
    assert model.total.data.flags.writeable


def test_sizes_that_depend_on_the_number_of_examples_are_said():
    graph = graph_of(lambda self, x: x.reshape(x.shape[0] * 2, 2), (4,))
    assert graph.steps[0].inputs[1] == (Batch(2), 2)
    assert graph.steps[0].output.shape == (Batch(2), 2)
    graph = graph_of(lambda self, x: x.reshape(x.shape[0] * 2, 2), (4,), batch=3)
    assert graph.steps[0].output.shape == (6, 2)


def test_arrays_of_n_equal_parts_are_constants_of_one():
    graph = graph_of(lambda self, x: x + np.full((x.shape[0], 4), 2, np.float32))
    value = graph.steps[0].values[1]
    assert value.shape == (N, 4)
    assert value.array.tolist() == [[2.0] * 4]


def test_what_is_computed_from_constants_is_a_constant():
    graph = graph_of(lambda self, x: x * self.scale.exp(), scale=nn.Parameter((4,), nn.ones))
    assert [s.name for s in graph.steps] == ["multiply"]
    assert np.allclose(graph.steps[0].values[1].array, np.e)


def test_several_inputs_and_outputs_are_named():
    model = Custom(lambda self, a, b: {"sum": a + b, "a": a})
    graph = trace("t", model, {"a": (3,), "b": (3,)})
    assert list(graph.inputs) == ["a", "b"]
    assert graph.outputs["a"] is graph.inputs["a"]
    assert list(trace("t", model, ((3,), (3,))).inputs) == ["0", "1"]


def test_a_batch_of_a_fixed_size_is_traced_at_that_size():
    assert graph_of(lambda self, x: x * 1.0 / len(x), batch=3).steps[-1].inputs[1] == 3


def _zero_first(y):
    y.data[:, 0] = 0
    return y


WRONG = {
    "a value that is read": (lambda self, x: x * float(x.sum()), "t: Tensor.numpy reads"),
    "a branch": (lambda self, x: x if x.sum() > 0 else -x, "t: Tensor.numpy reads"),
    "an array of NumPy": (lambda self, x: x + np.asarray(x), "t: np.asarray reads"),
    "an array computed elsewhere": (lambda self, x: x + x.data * 2, "an array that it takes"),
    "a branch on the array": (lambda self, x: x * 2.0 if x.data.max() > 1 else x + 2.0, "whether add or multiply"),
    "a limit of pixels": (lambda self, x: apply(ops.where, x.data > 128, x, 0.0), "an array that it takes"),
    "what is written in place": (lambda self, x: _zero_first(x * 2.0), "read-only"),
    "more ops": (lambda self, x: (x + 2.0) * 2.0 if x.data.max() > 1 else x + 2.0, "how many ops"),
    "random numbers": (lambda self, x: x + np.random.default_rng().random(4, np.float32), "an array that it takes"),
    "half of a batch": (lambda self, x: x[: len(x) // 2], "a size"),
    "a number of examples": (lambda self, x: x * (1.0 / len(x)), "what it is given"),
    "rows that differ": (lambda self, x: x + np.arange(len(x), dtype="f4")[:, None], "an array that it takes"),
    "an output that is no tensor": (lambda self, x: 3, "expected a model that returns a Tensor"),
    "an error": (lambda self, x: x.nothing, "the model's forward fails on 2 examples"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_no_graph_of_ops_computes_is_an_error_of_one_line(name):
    forward, message = WRONG[name]
    with pytest.raises(ConfigError, match=message) as caught:
        graph_of(forward)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["torch"])
def test_what_is_written_in_place_on_another_backend_is_an_error(backend):
    model = Custom(lambda self, x: _zero_first(x * self.scale), scale=nn.Parameter((4,), nn.ones)).to(backend)
    with pytest.raises(ConfigError, match="written in place"):
        trace("t", model, (4,))


def test_an_array_of_numbers_that_is_written_between_two_uses_is_an_error():
    def forward(self, x):
        numbers = np.ones(4, np.float32)
        x = x * numbers
        numbers *= 2
        return x * numbers

    with pytest.raises(ConfigError, match="read-only"):
        graph_of(forward)


def test_an_array_of_ones_is_passed_on_by_layers_that_do_nothing():
    assert trace("t", nn.Dropout(), (3,)).steps == []


def test_a_residual_network_is_as_many_ops_as_it_has_layers_and_sums():
    graph = trace("t", models.build("resnet20", (8, 8, 3), 4), (8, 8, 3))
    names = [s.name for s in graph.steps]
    convolutions = dict.fromkeys(("conv2d", "batch_norm", "relu"), 19)
    others = {"add": 9, "concat": 2, "avg_pool2d": 2, "global_avg_pool2d": 1, "linear": 1}
    assert {n: names.count(n) for n in set(names)} == {**convolutions, **others}
    assert graph.steps[4].path == "stage1.block1.body.norm1"


def test_layers_are_seen_as_they_are_entered():
    model = nn.Sequential(a=nn.Residual(nn.Sequential(fc=nn.Linear(3, 3))))
    found = [[layer.path for layer in s.layers] for s in trace("t", model, (3,)).steps]
    assert found == [["", "a", "a.body", "a.body.fc"], ["", "a"]]


def test_wrong_shapes_are_the_layers_own_error():
    with pytest.raises(ValueError, match="linear: expected x of shape"):
        trace("t", nn.Linear(3, 2), (4,))


def test_an_observer_is_gone_after_an_error():
    with pytest.raises(ConfigError):
        graph_of(lambda self, x: float(x.sum()))
    assert float(Tensor(np.ones(()))) == 1.0
