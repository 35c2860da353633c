"""A module of PyTorch whose arrays fit but which computes something else is refused, with both sides in one line."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import xpnet  # noqa: E402
from tests.interop.torch.twins import NEEDS_SHAPE, PUBLISHED, SMALL, randomized, scores  # noqa: E402
from xpnet import nn  # noqa: E402
from xpnet.errors import CheckpointError  # noqa: E402

T = torch.nn


@pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])
def test_equal_networks_are_equal(name):
    ours, theirs, shape = {**SMALL, **PUBLISHED}[name]()
    xpnet.load_torch(ours, randomized(theirs), shape=shape[1:] if name in NEEDS_SHAPE else None, verbose=False)
    if name in SMALL:
        found, want = scores(ours, theirs, shape)
        np.testing.assert_allclose(found, want, atol=2e-5)


CONV = (4, 4, 3)
DIFFERENT = {
    "stride": (nn.Conv2d(*CONV), T.Conv2d(*CONV, stride=2)),
    "padding": (nn.Conv2d(*CONV, padding=1), T.Conv2d(*CONV)),
    "dilation": (nn.Conv2d(*CONV, dilation=2), T.Conv2d(*CONV)),
    "padding_mode": (nn.Conv2d(*CONV, padding=1), T.Conv2d(*CONV, padding=1, padding_mode="circular")),
    "groups": (nn.Conv2d(8, 4, 1, groups=2), T.Conv2d(4, 4, 1)),
    "kind: ConvTranspose2d": (nn.Conv2d(*CONV), T.ConvTranspose2d(*CONV)),
    "eps": (nn.BatchNorm(4), T.BatchNorm2d(4, eps=1e-3)),
    "momentum": (nn.BatchNorm(4), T.BatchNorm2d(4, momentum=0.01)),
    "momentum None": (nn.BatchNorm(4), T.BatchNorm2d(4, momentum=None)),
    "kind: InstanceNorm2d": (nn.LayerNorm(4), T.InstanceNorm2d(4, affine=True)),
    "kind: GroupNorm": (nn.LayerNorm(4), T.GroupNorm(2, 4)),
    "kind: Embedding": (nn.Linear(4, 3, bias=False), T.Embedding(3, 4)),
}
WITHOUT_ARRAYS = {
    "approximate": (nn.GELU(), T.GELU()),
    "negative_slope": (nn.LeakyReLU(0.1), T.LeakyReLU(0.2)),
    "kind: ReLU": (nn.Tanh(), T.ReLU()),
    "kind: SiLU": (nn.ReLU(), T.SiLU()),
    "kernel_size": (nn.MaxPool2d(2), T.MaxPool2d(3)),
    "stride of a pool": (nn.MaxPool2d(2), T.MaxPool2d(2, stride=1)),
    "ceil_mode": (nn.AvgPool2d(2), T.AvgPool2d(2, ceil_mode=True)),
    "count_include_pad": (nn.AvgPool2d(2, padding=1), T.AvgPool2d(2, padding=1, count_include_pad=False)),
    "alpha": (nn.LocalResponseNorm(5, alpha=1e-4), T.LocalResponseNorm(5, alpha=1e-4)),
    "dim": (nn.Softmax(), T.Softmax(0)),
    "dim of logarithms": (nn.LogSoftmax(), T.LogSoftmax(-2)),
    "dilation of a pool": (nn.MaxPool2d(2), T.MaxPool2d(2, dilation=2)),
}


@pytest.mark.parametrize("setting", [*DIFFERENT, *WITHOUT_ARRAYS])
def test_a_layer_that_differs_is_named_with_both_values(setting):
    ours, theirs = {**DIFFERENT, **WITHOUT_ARRAYS}[setting]
    model, source = nn.Sequential(nn.Linear(5, 5), ours), T.Sequential(T.Linear(5, 5), theirs)
    before = model.state_dict()
    words = setting.split()[0].removesuffix(":") if "kind" not in setting else rf"one kind.*{setting.split()[-1]}"
    with pytest.raises(CheckpointError, match=rf"1 and 1.*{words}"):
        xpnet.load_torch(model, source, verbose=False)
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.Conv2d(*CONV, padding=1), T.Conv2d(*CONV, padding="same")),
        (nn.Conv2d(*CONV), T.Conv2d(*CONV, padding="valid")),
        (nn.MaxPool2d((2, 2)), T.MaxPool2d(2)),
        (nn.GlobalAvgPool2d(), T.AdaptiveAvgPool2d((1, 1))),
        (nn.LocalResponseNorm(5, alpha=1e-4), T.LocalResponseNorm(5, alpha=5e-4, k=2)),
        (nn.Dropout(0.2), T.Dropout(0.5)),
        (nn.LayerNorm(4), T.LayerNorm(4)),
        (nn.Softmax(), T.Softmax(1)),
        (nn.LogSoftmax(), T.LogSoftmax(-1)),
    ],
    ids=["same", "valid", "pair", "global", "alpha", "dropout", "layer norm", "softmax", "log softmax"],
)
def test_settings_that_say_the_same_in_other_words_are_equal(ours, theirs):
    xpnet.load_torch(nn.Sequential(nn.Linear(3, 2), ours), T.Sequential(T.Linear(3, 2), theirs), verbose=False)


def test_a_layer_more_on_one_side_is_named():
    source = T.Sequential(T.Linear(3, 2), T.ReLU(), T.Softmax(1))
    with pytest.raises(CheckpointError, match="more in PyTorch 2"):
        xpnet.load_torch(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), source, verbose=False)
    with pytest.raises(CheckpointError, match="more in model 2"):
        xpnet.load_torch(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.ReLU(), nn.Tanh()), source[:2], verbose=False)


def test_to_torch_compares_as_well():
    with pytest.raises(CheckpointError, match="stride"):
        xpnet.to_torch_state_dict(nn.Conv2d(*CONV), T.Conv2d(*CONV, stride=2))


class Custom(T.Module):
    """A forward of its own, on layers without arrays."""

    def __init__(self, *layers):
        super().__init__()
        self.fc, self.others = T.Linear(3, 2), T.ModuleList(layers)

    def forward(self, x):
        return self.others[0](self.fc(x))


def test_layers_of_a_forward_of_its_own_are_compared_where_both_sides_have_as_many():
    model = nn.Sequential(nn.Linear(3, 2), nn.GELU())
    with pytest.raises(CheckpointError, match="approximate"):
        xpnet.load_torch(model, Custom(T.GELU()), verbose=False)
    with pytest.raises(CheckpointError, match=r"kinds of layers.*others\.0 SiLU.*state_dict"):
        xpnet.load_torch(model, Custom(T.SiLU()), verbose=False)
    xpnet.load_torch(model, Custom(T.GELU("tanh")), verbose=False)
    xpnet.load_torch(model, Custom(T.GELU(), T.GELU()), verbose=False)  # which one is used is not known
    xpnet.load_torch(model, Custom(T.SiLU()).state_dict(), verbose=False)


class Flattens(T.Module):
    """A convolution, a function of the user's, and a Linear."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.fc, self.function = T.Conv2d(2, 4, 3), T.Linear(24, 3), function

    def forward(self, x):
        return self.fc(self.function(self.conv(x)))


def flattens():
    return nn.Sequential(conv=nn.Conv2d(2, 4, 3), flatten=nn.Flatten(), fc=nn.Linear(24, 3))


FORWARDS = {
    "axes in another order": lambda x: x.permute(0, 2, 3, 1).flatten(1),
    "height and width exchanged": lambda x: x.transpose(2, 3).flatten(1),
    "an activation more": lambda x: x.flatten(1).relu(),
    "a factor": lambda x: x.flatten(1) * 1.1,
    "not a number": lambda x: x.flatten(1) / 0.0,
}


@pytest.mark.parametrize("name", FORWARDS)
def test_outputs_of_a_forward_that_does_something_else_are_an_error_and_change_nothing(name):
    model = flattens()
    before = model.state_dict()
    with pytest.raises(CheckpointError, match="outputs differ from PyTorch's"):
        xpnet.load_torch(model, Flattens(FORWARDS[name]), shape=(4, 5, 2), verbose=False)
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_outputs_of_another_size_are_an_error():
    with pytest.raises(CheckpointError, match=r"outputs \(2, 2, 4, 4\), PyTorch \(2, 2, 3, 4\)"):
        xpnet.load_torch(
            nn.Sequential(nn.Conv2d(2, 4, 3)), T.Sequential(Resized(2, 4, 3)), shape=(4, 6, 2), verbose=False
        )


class Resized(T.Conv2d):
    """A convolution whose last column is left out."""

    def forward(self, x):
        return super().forward(x)[..., :-1]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16], ids=["float32", "float64", "bfloat16"]
)
def test_equal_outputs_are_no_error_in_any_dtype_and_modes_stay(dtype):
    theirs = Flattens(lambda x: x.flatten(1)).to(dtype)
    theirs.conv.eval()
    xpnet.load_torch(flattens(), theirs, shape=(4, 5, 2), verbose=False)
    assert (theirs.training, theirs.conv.training, theirs.fc.training) == (True, False, True)


def test_a_forward_that_takes_something_else_is_loaded_and_logged(caplog):
    theirs = Flattens(lambda x: x.flatten(1).reshape(7))
    xpnet.load_torch(flattens(), theirs, shape=(4, 5, 2), verbose=False)
    assert "outputs are not compared" in caplog.text


def test_a_shape_beyond_memory_is_not_tried(caplog):
    xpnet.load_torch(nn.Sequential(nn.Linear(3, 2)), T.Sequential(T.Linear(3, 2)), shape=(10**9,), verbose=False)
    assert "outputs are not compared" in caplog.text
