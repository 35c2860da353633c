"""A layer that is defined outside of xpnet describes itself: nothing in xpnet holds a list of layers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import sample
from xpnet import nn, viz
from xpnet.autograd import Tensor


class Blur(nn.Module):
    """The mean of each pixel and its right neighbour, if there is one, times a weight a channel."""

    kind = "blur"
    family = "convolution"
    across_batch = False
    fold_order = 2

    def __init__(self, channels):
        self.channels = channels
        self.weight = nn.Parameter((channels,), nn.constant(0.5))

    def forward(self, x):
        return (x[:, :, :-1, :] + x[:, :, 1:, :]) * self.weight

    def cost(self, shape):
        output = (shape[0], shape[1] - 1, shape[2])
        return nn.Cost.of(shape, output, 2 * int(np.prod(output)), "x")

    def details(self):
        return ("1x2",)

    def receptive_field(self, field, output):
        return field.windows(output, (1, 2), (1, 1), (0, 0), (1, 1))

    def conv_form(self):
        return nn.Form(self.channels, self.channels, (1, 2), groups=self.channels)

    def filters(self):
        return nn.Filters(np.tile(self.weight.as_float64()[:, None, None, None], (1, 1, 2, 1)), None)

    def folded(self, form, filters):
        layer = nn.Conv2d(form.channels, form.filters, *form[2:], bias=filters.shift is not None)
        layer.weight.fill(filters.weight, self.weight)
        if layer.bias is not None:
            layer.bias.fill(filters.shift, self.weight)
        return layer


class Square(nn.Module):
    """An activation that a layer may fuse if it knows "square"."""

    fused = "square"

    def forward(self, x):
        return x * x


class Halved(nn.Module):
    """A layer that applies the activation itself."""

    fuses = True

    def forward(self, x, activation=None):
        self.asked = activation
        return x * 0.5 if activation is None else (x * 0.5) ** 2


class Plain(nn.Module):
    """A layer that says nothing of itself but its cost."""

    def forward(self, x):
        return x * 2.0

    def cost(self, shape):
        return nn.Cost.of(shape, shape)


def network():
    return nn.Sequential(conv=nn.Conv2d(3, 4, 3), blur=Blur(4), norm=nn.BatchNorm(4), act=nn.ReLU())


def test_a_summary_has_its_kind_details_cost_and_receptive_field():
    row = viz.summarize(network(), (8, 9, 3)).layers[1]
    assert (row.name, row.kind, row.details, row.family) == ("blur", "blur", ("1x2",), "convolution")
    assert (row.output, row.macs, row.parameters) == ((6, 6, 4), 2 * 6 * 6 * 4, 4)
    assert row.receptive_field == (3, 4)
    assert "blur 1x2" in str(viz.summarize(network(), (8, 9, 3)))


def test_a_layer_that_says_nothing_has_its_class_name_and_no_receptive_field():
    row = viz.summarize(nn.Sequential(mine=Plain()), (8, 9, 3)).layers[0]
    assert (row.kind, row.details, row.family, row.receptive_field) == ("Plain", (), "other", None)


def test_a_diagram_draws_it():
    pytest.importorskip("matplotlib")
    figure = viz.blocks(network(), (8, 9, 3))
    assert any("blur 1x2" in text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_it_predicts_and_is_folded():
    x = sample(5, 8, 9, 3, seed=1).astype(np.float32)
    model = network().initialize(3)
    model.norm.mean, model.norm.var = sample(4, seed=2), 1.5 + sample(4, seed=3, low=-1.0)
    folded = nn.fold(model)
    assert [type(layer).__name__ for layer in folded] == ["Conv2d", "Conv2d", "ReLU"]
    np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(x), model.eval()(Tensor(x)).numpy(), rtol=1e-5, atol=1e-6)


def test_an_activation_is_fused_by_a_layer_that_fuses():
    model, x = nn.Sequential(halved=Halved(), square=Square()), Tensor(np.full((1, 2), 4.0, np.float32))
    assert model(x).numpy().tolist() == [[4.0, 4.0]]
    assert model.halved.asked == "square"


def test_a_subclass_with_a_forward_of_its_own_says_again_what_holds_for_a_forward():
    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2.0

    layer = Twice(3, 3)
    assert (layer.across_batch, layer.fuses, layer.conv_form()) == (None, False, None)
    assert layer.kind == "linear"
    assert nn.Linear(3, 3).across_batch is False
