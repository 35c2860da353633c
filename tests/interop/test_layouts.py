"""Rows of images in models of every form: the weights that see them get another order of columns."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import xpnet  # noqa: E402
from tests.interop.torch.twins import randomized, scores  # noqa: E402
from xpnet import nn, ops  # noqa: E402
from xpnet.autograd import Tensor, apply  # noqa: E402
from xpnet.errors import ConfigError  # noqa: E402
from xpnet.interop.layouts import flattened  # noqa: E402

T = torch.nn


class Custom(nn.Module):
    """Two layers with a function between them, on images (N, 4, 5, 3)."""

    def __init__(self, between, features, **layers):
        self.conv = nn.Conv2d(3, 6, 3)  # (N, 2, 3, 6)
        self.fc = nn.Linear(features, 4)
        self.between = between
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.fc(self.between(self, self.conv(x)))


class CustomInTorch(T.Module):
    def __init__(self, between, features, **layers):
        super().__init__()
        self.conv, self.fc, self.between = T.Conv2d(3, 6, 3), T.Linear(features, 4), between
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.fc(self.between(self, self.conv(x)))


class Scale(nn.Module):
    def __init__(self):
        self.factor = nn.Parameter((36,), nn.ones)

    def forward(self, x):
        return x * self.factor


class ScaleInTorch(T.Module):
    def __init__(self):
        super().__init__()
        self.factor = T.Parameter(torch.ones(36))

    def forward(self, x):
        return x * self.factor


# name: how rows are made here and in torch, how many features they have, and layers on both sides
FORMS = {
    "reshape": (lambda m, y: y.reshape(y.shape[0], -1), lambda m, y: y.reshape(len(y), -1), 36, {}, {}),
    "flatten": (lambda m, y: y.relu().flatten() * 2.0, lambda m, y: y.relu().flatten(1) * 2, 36, {}, {}),
    "tokens": (lambda m, y: y.reshape(y.shape[0], 6, 6).mean(1), lambda m, y: y.flatten(2).mean(2), 6, {}, {}),
    "average": (lambda m, y: y.mean((1, 2)), lambda m, y: y.mean((2, 3)), 6, {}, {}),
    "permuted": (lambda m, y: y.permute(0, 3, 1, 2).flatten(), lambda m, y: y.flatten(1), 36, {}, {}),
    "normalized": (
        lambda m, y: m.layer(m.batch(y.flatten())), lambda m, y: m.layer(m.batch(y.flatten(1))), 36,
        {"layer": nn.LayerNorm(36), "batch": nn.BatchNorm(36)}, {"layer": T.LayerNorm(36), "batch": T.BatchNorm1d(36)},
    ),
    "scaled": (lambda m, y: m.scale(y.flatten()), lambda m, y: m.scale(y.flatten(1)), 36, {"scale": Scale()},
               {"scale": ScaleInTorch()}),
    "joined": (
        lambda m, y: apply(ops.concat, y, y.tanh(), axis=-1).flatten(),
        lambda m, y: torch.cat([y, y.tanh()], 1).flatten(1), 72, {}, {},
    ),
    "added": (lambda m, y: y.flatten() + y.relu().flatten(), lambda m, y: (y + y.relu()).flatten(1), 36, {}, {}),
    "gated": (
        lambda m, y: (y * m.gate(y.mean((1, 2))).sigmoid().reshape(y.shape[0], 1, 1, 6) / abs(y).max()).flatten(),
        lambda m, y: (y * m.gate(y.mean((2, 3))).sigmoid()[:, :, None, None] / y.abs().max()).flatten(1), 36,
        {"gate": nn.Linear(6, 6)}, {"gate": T.Linear(6, 6)},
    ),
    "centered": (
        lambda m, y: y.flatten() - y.flatten().mean(-1, keepdims=True),
        lambda m, y: y.flatten(1) - y.flatten(1).mean(-1, keepdim=True), 36, {}, {},
    ),
    "sliced": (lambda m, y: y[:, :, 1:].flatten(), lambda m, y: y[:, :, :, 1:].flatten(1), 24, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_forward_of_its_own_is_followed_by_running_it(form):
    here, there, features, layers, others = FORMS[form]
    model, theirs = Custom(here, features, **layers), CustomInTorch(there, features, **others)
    with pytest.raises(ConfigError, match="expected shape"):
        xpnet.load_torch(model, theirs.state_dict(), verbose=False)
    xpnet.load_torch(model, randomized(theirs), shape=(4, 5, 3), verbose=False)
    found, want = scores(model, theirs, (3, 4, 5, 3))
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(found, want, atol=1e-5)
    back = xpnet.to_torch_state_dict(model, theirs, shape=(4, 5, 3))
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize(
    "between",
    [
        lambda m, y: y.reshape(y.shape[0], 3, 12).flatten(),
        lambda m, y: apply(ops.concat, y.flatten(), y.mean((1, 2)), axis=-1)[:, :36],
        lambda m, y: y.flatten()[:, ::1][:, 0:36],
        lambda m, y: y.permute(0, 2, 1, 3).flatten(),
        lambda m, y: apply(ops.matmul, y.flatten(), np.eye(36, dtype=np.float32)),
        lambda m, y: y.flatten() * np.arange(36, dtype=np.float32),
        lambda m, y: apply(ops.avg_pool2d, m.wide(y.flatten()).reshape(-1, 2, 3, 6), kernel_size=1).flatten(),
        lambda m, y: y.flatten() + m.fc(y.flatten())[:, :1].reshape(-1, 1) * np.ones((1, 36), np.float32),
    ],
    ids=["mixed sizes", "joined with others", "sliced", "transposed", "matmul", "constant", "decoder", "sum"],
)
def test_rows_whose_order_cannot_be_known_are_an_error(between):
    model = Custom(between, 36, wide=nn.Linear(36, 36))
    with pytest.raises(ConfigError, match="order of numbers in rows"):
        flattened(model, (4, 5, 3), "a test")


def test_sequences_and_rows_have_one_order_everywhere():
    class Attention(nn.Module):
        def __init__(self):
            self.query, self.key, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            def heads(y):
                return y.reshape(y.shape[0], 5, 2, 3).permute(0, 2, 1, 3)

            q, k = heads(self.query(x)), heads(self.key(x))
            y = apply(ops.matmul, apply(ops.matmul, q, k.permute(0, 1, 3, 2)).softmax(), k)
            return self.out(y.permute(0, 2, 1, 3).reshape(x.shape[0], 5, 6))

    assert flattened(Attention(), (5, 6), "a test") == {}


def test_layers_one_after_the_other_need_no_shape():
    convolutions = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Residual(nn.Conv2d(4, 4, 1)), nn.MaxPool2d(2), nn.PadChannels(1)
    )
    model = nn.Sequential(
        convolutions, nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Dropout()), nn.Linear(20, 3), nn.Linear(3, 3)
    )
    rows = flattened(model, None, "a test")
    assert rows == {model[2].weight: 5}
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GlobalAvgPool2d(), nn.Linear(4, 3))
    assert flattened(pooled, None, "a test") == {}
    assert flattened(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), None, "a test") == {}


def test_a_model_of_one_channel_or_one_pixel_has_one_order():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    assert flattened(model, (3, 4, 1), "a test") == {model[1].weight: 1}
    values = xpnet.to_torch_state_dict(model, shape=(3, 4, 1), numpy=True)
    assert np.array_equal(values["1.weight"], model[1].weight.numpy())


def test_the_model_is_not_written_by_the_trace():
    model = Custom(FORMS["normalized"][0], 36, layer=nn.LayerNorm(36), batch=nn.BatchNorm(36))
    before = model.state_dict()
    flattened(model, (4, 5, 3), "a test")
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert model(Tensor(np.ones((2, 4, 5, 3), np.float32))).shape == (2, 4)
