"""GradientFlow: whose gradients it notes, how long they are, when, and how much it keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.harness import put, raises, sample
from tests.train.fitting import InterruptAt, digits, noisy_net, some_digits, trainer
from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.errors import ConfigError
from xpnet.train import Callback, GradientFlow, Trainer


class Lengths(Callback):
    """Each step's gradients on the host, as NumPy measures them."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_gradients(self, trainer, gradients: Any):
        self.steps.append(
            {p.path: float(np.linalg.norm(Tensor(g).numpy().astype(np.float64))) for p, g in gradients.items()}
        )

    def of(self, layer: str) -> list[float]:
        own = [[v for path, v in step.items() if path.rpartition(".")[0] == layer] for step in self.steps]
        return [float(np.hypot.reduce(values)) for values in own]


def fit(callbacks, model: Any = "mlp", backend="numpy", epochs=1, n=96, **options) -> Trainer:
    made = trainer(model, backend, callbacks=callbacks, **options)
    made.fit(some_digits(n), epochs=epochs, batch_size=32)
    return made


def test_a_layers_norm_is_that_of_its_weight_and_bias_together(backend):
    flow, lengths = GradientFlow(), Lengths()
    fit([flow, lengths], "mlp", backend, epochs=2, n=64)
    assert flow.layers == ("hidden1", "scores")
    assert flow.steps.tolist() == [0, 1, 2, 3]
    assert flow.norms.shape == (4, 2)
    for column, layer in enumerate(flow.layers):
        np.testing.assert_allclose(flow.norms[:, column], lengths.of(layer), rtol=1e-5)


def test_convolutions_and_normalization_are_layers_too_and_dropout_is_none():
    flow, lengths = GradientFlow(), Lengths()
    fit([flow, lengths], noisy_net())
    assert flow.layers == ("conv", "norm", "scores")
    for column, layer in enumerate(flow.layers):
        np.testing.assert_allclose(flow.norms[:, column], lengths.of(layer), rtol=1e-5)


def test_the_first_norm_of_softmax_regression_is_the_textbooks():
    flow, train = GradientFlow(), some_digits(32)
    made = fit([flow], "softmax", n=32)
    assert made.normalize is not None
    x = np.asarray(made.normalize(train.x)).reshape(32, 64).astype(np.float64)
    error = (0.1 - np.eye(10)[train.y]) / 32  # the weights begin at 0, so all classes are as likely
    want = np.sqrt(np.sum((error.T @ x) ** 2) + np.sum(error.sum(axis=0) ** 2))
    assert flow.norms[0, 0] == pytest.approx(want, rel=1e-5)


def test_gradients_too_small_or_large_to_be_squared_in_float32_are_measured(backend):
    net = nn.Sequential(hidden=nn.Linear(3, 2), scores=nn.Linear(2, 2)).to(backend)
    flow, made = GradientFlow(), Trainer(net)
    flow.on_start(made)
    scale = {"hidden.weight": 1e-30, "hidden.bias": 0.0, "scores.weight": 1e30, "scores.bias": 0.0}
    shapes = {p.path: p for p in net.parameters()}
    values = {path: sample(*p.shape) * scale[path] for path, p in shapes.items()}
    flow.on_gradients(made, {p: put(backend, values[path], np.float32) for path, p in shapes.items()})
    want = [np.linalg.norm(values["hidden.weight"]), np.linalg.norm(values["scores.weight"])]
    np.testing.assert_allclose(flow.norms, [want], rtol=1e-5)


def test_a_layer_that_no_gradient_reaches_has_0():
    class Half(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x):
            return self.used(x.flatten())

    flow = GradientFlow()
    fit([flow], Half())
    assert flow.layers == ("used", "unused")
    assert (flow.norms[:, 0] > 0).all()
    assert not flow.norms[:, 1].any()


def test_layers_follow_the_order_of_depth_and_a_shared_one_counts_once():
    shared = nn.Linear(8, 8)
    net = nn.Sequential(first=nn.Linear(64, 8), a=shared, b=shared, last=nn.Linear(8, 10))
    flow = GradientFlow()
    fit([flow], nn.Sequential(flatten=nn.Flatten(), inner=net))
    assert flow.layers == ("inner.first", "inner.a", "inner.last")


def test_a_model_that_is_one_layer_goes_by_its_kind():
    flow = GradientFlow()
    made = Trainer(nn.Linear(64, 10), callbacks=[flow])
    made.fit((some_digits(32).x.reshape(32, 64).astype(np.float32), some_digits(32).y), epochs=1)
    assert flow.layers == ("Linear",)


def test_only_every_so_manyth_step_is_looked_at():
    every, flow = GradientFlow(), GradientFlow(every=3)
    fit([every, flow], n=320)
    assert flow.steps.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(flow.norms, every.norms[::3])


def test_steps_between_those_that_are_recorded_are_replayed(counts):
    fit([], "mlp", epochs=2, n=320)
    plain = counts.replayed
    flow = GradientFlow(every=4)
    fit([flow], "mlp", epochs=2, n=320)
    assert flow.steps.tolist() == [0, 4, 8, 12, 16]
    assert counts.replayed - plain >= plain - 5 > 0


def test_a_long_training_is_thinned_out_and_stays_in_view():
    every, flow = GradientFlow(), GradientFlow(keep=5)
    fit([every, flow], "softmax", "array-api-strict:device1", epochs=4, n=320)  # 40 steps
    assert flow.steps.tolist() == [0, 8, 16, 24, 32]  # every 2nd from step 5 on, every 4th from 10, every 8th from 20
    np.testing.assert_array_equal(flow.norms, every.norms[flow.steps])


def test_one_copy_an_epoch_is_made_and_none_where_nothing_is_new(backend, monkeypatch):
    flow, copies = GradientFlow(), []
    real = type(backend).to_numpy
    monkeypatch.setattr(type(backend), "to_numpy", lambda self, a: copies.append(tuple(a.shape)) or real(self, a))
    fit([flow], "softmax", backend, epochs=2)
    assert [shape for shape in copies if len(shape) == 2] == [(3, 2), (3, 2)]
    copies.clear()
    assert flow.norms.shape == flow.norms.shape == (6, 1)
    assert copies == []


def test_it_may_be_read_in_the_middle_of_an_epoch():
    seen = []

    class Look(Callback):
        def on_step(self, trainer):
            seen.append(flow.norms.shape)

    flow = GradientFlow()
    fit([flow, Look()])
    assert seen == [(1, 2), (2, 2), (3, 2)]


def test_training_goes_on_where_it_ended_also_elsewhere():
    flow = GradientFlow()
    made = fit([flow])
    made.model.to("array-api-strict:device1")
    made.fit(some_digits(96), epochs=2, batch_size=32)
    assert flow.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert (flow.norms[1:] > 0).all()  # the scores begin at 0 and pass no gradient on in the first step


def test_training_that_was_interrupted_may_go_on_elsewhere():
    flow = GradientFlow()
    made = fit([flow, InterruptAt(0, 1)])
    made.callbacks.pop()
    made.model.to("array-api-strict:device1")
    made.fit(some_digits(96), epochs=1, batch_size=32)
    assert flow.steps.tolist() == [0, 1, 2]
    assert (flow.norms[1:] > 0).all()


def test_another_model_begins_anew():
    flow = GradientFlow()
    fit([flow])
    fit([flow], "softmax")
    assert flow.layers == ("scores",)
    assert flow.norms.shape == (3, 1)


def test_training_is_not_changed_by_looking_on():
    plain, watched = fit([]), fit([GradientFlow(keep=2)])
    for path, values in plain.model.state_dict().items():
        np.testing.assert_array_equal(values, watched.model.state_dict()[path])


def test_before_the_first_step_there_is_nothing():
    flow = GradientFlow()
    assert flow.layers == ()
    assert flow.norms.shape == (0, 0)
    assert flow.steps.shape == (0,)
    fit([flow], epochs=0)
    assert flow.norms.shape == (0, 2)


def test_a_model_without_parameters_is_passed_over():
    flow = GradientFlow()
    net = nn.Sequential(nn.ReLU())
    made: Any = SimpleNamespace(model=net)
    flow.on_start(made)
    flow.on_gradients(made, {})
    assert flow.norms.shape == (0, 0)


@pytest.mark.parametrize(
    ("options", "got"), [({"every": 0}, "every 0"), ({"keep": 1}, "keep 1")], ids=["every", "keep"]
)
def test_numbers_out_of_range_are_refused(options, got):
    with raises(ConfigError, "GradientFlow", got):
        GradientFlow(**options)


def test_it_measures_what_backward_gives_also_outside_of_a_trainer():
    net = nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(64, 10))
    flow, made = GradientFlow(), Trainer(net)
    flow.on_start(made)
    x = digits()[0].x[:8].astype(np.float32)
    gradients = backward(nn.softmax_cross_entropy(net(Tensor(x)), digits()[0].y[:8]))
    flow.on_gradients(made, gradients)
    want = np.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradients.values()))
    assert flow.norms[0, 0] == pytest.approx(want, rel=1e-5)
