"""How modules show themselves: a line with what was set, and a table for notebooks."""

from __future__ import annotations

from xpnet import nn


class Scale(nn.Module):
    def __init__(self, rate=0.5):
        self.rate, self.calls = rate, 3
        self.factor = nn.Parameter((4,))
        self.inner = [nn.ReLU()]


def test_a_layer_is_written_with_what_differs_from_the_default():
    assert (
        repr(nn.Conv2d(1, 2, 3, bias=False)) == "Conv2d(in_channels=1, out_channels=2, kernel_size=(3, 3), bias=False)"
    )
    assert repr(nn.Linear(3, 2, bias="augmented")) == "Linear(in_features=3, out_features=2, bias=augmented)"
    assert repr(nn.Dropout()) == "Dropout()"
    assert repr(nn.LeakyReLU(0.2)) == "LeakyReLU(slope=0.2)"
    assert repr(Scale()) == "Scale(rate=0.5, calls=3)\n  inner.0: ReLU()"


LAYERS = [
    nn.Linear(3, 2, bias=False), nn.Linear(3, 2, "augmented"), nn.MaxPool2d(3, 2, 1, True), nn.BatchNorm(3),
    nn.Conv2d(2, 4, 3, (2, 1), 1, groups=2, flip=True), nn.Softmax(1), nn.Perceptron(2, 3, False),
]  # fmt: skip


def test_settings_build_the_layer_again():
    for layer in LAYERS:
        other = type(layer)(**layer.settings())
        assert other.settings() == layer.settings()
        assert {k: v.shape for k, v in other.states().items()} == {k: v.shape for k, v in layer.states().items()}


def test_a_notebook_shows_a_model_as_a_table():
    shared = nn.Linear(4, 4)
    html = nn.Sequential(first=shared, act=nn.ReLU(), again=shared, scale=Scale())._repr_html_()
    assert "Sequential, 24 parameters, on numpy:cpu" in html
    rows = [row for row in html.split("<tr>") if "<td" in row]
    assert [next(n for n in ("-", "4", "20") if f">{n}<" in row) for row in rows] == ["20", "-", "-", "4", "-"]
    assert "first" in rows[0]
    assert "scale.inner.0" in rows[4]


def test_a_name_is_no_markup():
    html = nn.Sequential(**{"<b>": nn.ReLU()})._repr_html_()
    assert "<b>" not in html
