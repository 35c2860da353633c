"""Which array goes where: names, shapes, order, and what a user says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest

import xpnet
from xpnet import nn
from xpnet.errors import CheckpointError, ConfigError


def model():
    """Two layers of equal shapes, and one of another."""
    return nn.Sequential(first=nn.Linear(3, 3), second=nn.Linear(3, 3), last=nn.Linear(3, 2))


def arrays(*names, **shapes):
    """State dictionaries of Linear layers: each weight holds its own number."""
    found = {}
    for i, name in enumerate(names, 1):
        rows = shapes.get(name, 2 if name == names[-1] else 3)
        found[f"{name}.weight"] = np.full((rows, 3), i, np.float32)
        found[f"{name}.bias"] = np.full(rows, i, np.float32)
    return found


def loaded(source, net=None, **options):
    """The number that each layer's weight has now."""
    net = net or model()
    xpnet.load_torch(net, source, verbose=False, **options)
    return [int(layer.weight.numpy()[0, 0]) for layer in net]


def test_order_decides_where_names_differ():
    assert loaded(arrays("zeta", "eta", "c")) == [1, 2, 3]
    assert loaded(arrays("c", "a", "b", c=2, b=3)) == [2, 3, 1]  # the last layer is told by its shape


def test_equal_names_win_over_the_order():
    assert loaded(arrays("second", "first", "x")) == [2, 1, 3]
    assert loaded({f"module.{name}": value for name, value in arrays("second", "first", "x").items()}) == [2, 1, 3]


def test_an_order_that_contradicts_equal_names_is_an_error():
    with pytest.raises(CheckpointError, match=r"another order.*rename"):
        loaded(arrays("second", "third", "x"))


def test_a_sorted_file_has_an_order_only_in_numbers(tmp_path):
    from safetensors.numpy import save_file

    save_file(arrays("zeta", "eta", "c"), tmp_path / "names")
    with pytest.raises(CheckpointError, match=r"keep no order.*rename"):
        loaded(tmp_path / "names")
    assert loaded(tmp_path / "names", rename={"zeta": "first"}) == [1, 2, 3]
    save_file(arrays("layer9", "layer10", "layer11"), tmp_path / "numbers")
    assert loaded(tmp_path / "numbers") == [1, 2, 3]
    save_file(arrays("layer9", "layer10", "layer8", layer10=2, layer8=3), tmp_path / "numbers")
    assert loaded(tmp_path / "numbers", nn.Sequential(*map(nn.Linear, (3, 3, 3), (3, 3, 2)))) == [3, 1, 2]


def test_a_dictionary_whose_names_are_sorted_or_shuffled_has_no_order():
    source = arrays("zeta", "eta", "c")
    together = [*list(source)[2:], *list(source)[:2]]
    shuffled = ["eta.weight", "zeta.bias", "c.weight", "eta.bias", "zeta.weight", "c.bias"]
    turned = ["zeta.bias", "zeta.weight", "eta.weight", "eta.bias", "c.weight", "c.bias"]
    assert loaded({name: source[name] for name in together}) == [2, 1, 3]
    for names in (sorted(source), shuffled, turned):
        with pytest.raises(CheckpointError, match="keep no order"):
            loaded({name: source[name] for name in names})
    with pytest.raises(CheckpointError, match="the numbers in the names differ"):
        loaded(arrays("conv2", "conv1", "c"))


def test_what_a_user_renames_goes_where_it_is_said():
    source = arrays("a", "b", "c")
    assert loaded(source, rename={"a": "second", "b": "first"}) == [2, 1, 3]
    assert loaded(source, rename={"a": "second"}) == [2, 1, 3]
    assert loaded(source, rename={re.compile(r"a\b"): "second"}) == [2, 1, 3]
    assert loaded(source, rename=lambda name: name.replace("a.", "second.")) == [2, 1, 3]
    assert loaded(source, rename={"a.weight": "second.weight", "a.bias": "second.bias"}) == [2, 1, 3]
    assert loaded(arrays("second", "third", "x"), rename={"second": "second"}) == [2, 1, 3]
    nested = {f"net.{name}": value for name, value in source.items()}
    assert loaded(nested, rename={"net.b": "first", "net.a": "second"}) == [2, 1, 3]
    numbered = arrays("l.1", "l.2", "l.3")
    patterns = {re.compile(r"l\.(1)\b"): "second", re.compile(r"l\.2\b"): "first"}
    assert loaded(numbered, rename=patterns) == [2, 1, 3]


def test_none_leaves_arrays_out():
    source = {**arrays("a", "b", "c"), "head.weight": np.ones((7, 7), np.float32)}
    with pytest.raises(CheckpointError, match="head"):
        loaded(source)
    assert loaded(source, rename={"head": None}) == [1, 2, 3]
    assert loaded(source, rename=lambda name: None if "head" in name else name) == [1, 2, 3]


def test_a_name_of_a_batch_norm_may_be_either_sides():
    norm = nn.Sequential(norm1=nn.BatchNorm(2))
    source = {"x.weight": 1, "x.bias": 2, "x.running_mean": 3, "x.running_var": 4, "x.num_batches_tracked": 5}
    source = {name: np.full(2 if i < 5 else (), i, np.float32) for name, i in sorted(source.items())}
    for rename in ({"x": "norm1"}, {"x.weight": "norm1.gamma", "x.running_var": "norm1.var"}, None):
        xpnet.load_torch(norm, source, rename=rename, verbose=False)
        layer = norm["norm1"]
        assert [int(s.numpy()[0]) for s in (layer.gamma, layer.beta, layer.mean, layer.var)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        ({"a": "secnd"}, "did you mean 'second'"),
        ({"a.weight": "second.wieght"}, r"did you mean 'second\.weight'"),
        ({"aa": "second"}, "begin with names of the file"),
        ({"a": "first", "b": "first"}, "two arrays the name"),
        ({"c": "first"}, r"first \(weight 3x3\).*c \(weight 2x3\)"),
        ({"a": 3}, "rename from prefixes"),
        ({3: "first"}, "rename from prefixes"),
        (lambda name: 3, "what rename returns"),
        (lambda name: name[99], "rename fails.*IndexError"),
        ({re.compile("a"): r"\9"}, "rename fails"),
        ("first", "rename"),
    ],
    ids=["layer", "array", "prefix", "twice", "shape", "value", "key", "returned", "raised", "group", "text"],
)
def test_a_rename_that_names_what_is_not_there_is_an_error(rename, words):
    net = model()
    before = net.state_dict()
    with pytest.raises((ConfigError, CheckpointError), match=words):
        loaded(arrays("a", "b", "c"), net, rename=rename)
    assert all(np.array_equal(before[name], value) for name, value in net.state_dict().items())


def test_kinds_of_layers_are_told_by_their_arrays():
    net = nn.Sequential(nn.LayerNorm(4), nn.BatchNorm(4))
    batch = {"b.weight": 1, "b.bias": 2, "b.running_mean": 3, "b.running_var": 4}
    layer = {"l.weight": 5, "l.bias": 6}
    xpnet.load_torch(net, {n: np.full(4, v, np.float32) for n, v in {**batch, **layer}.items()}, verbose=False)
    assert [int(s.numpy()[0]) for s in net.states().values()] == [5, 6, 1, 2, 3, 4]
    plain = {name: np.ones(4, np.float32) for name in ("b.running_mean", "b.running_var")}  # without affine
    with pytest.raises(CheckpointError, match="running_mean"):
        xpnet.load_torch(net[:1], plain, verbose=False)
    instance = {name: np.ones(4, np.float32) for name in ("a.weight", "a.bias", "l.weight", "l.bias")}
    with pytest.raises(CheckpointError, match=r"1 \(weight 4, bias 4, running_mean 4, running_var 4\)"):
        xpnet.load_torch(net, instance, verbose=False)


def test_a_parameter_of_another_name_goes_by_its_shape():
    class Scale(nn.Module):
        def __init__(self):
            self.factor, self.offset = nn.Parameter((4,)), nn.Parameter((3,))

        def forward(self, x):
            return x

    net = Scale()
    source = {"scale": np.full(4, 2, np.float32), "shift": np.full(3, 5, np.float32)}
    xpnet.load_torch(net, source, shape=(4,), verbose=False)
    assert (net.factor.numpy()[0], net.offset.numpy()[0]) == (2, 5)


def test_without_strictness_only_what_is_certain_is_loaded():
    net = nn.Sequential(a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 2))
    source = arrays("a", "x", "y", "z", y=3, z=2)  # three layers for two: only the name tells
    found = xpnet.load_torch(net, source, strict=False, verbose=False)
    assert found.missing == ("b.weight", "b.bias")
    assert found.unexpected == ("x.weight", "x.bias", "y.weight", "y.bias")
    assert [array.source for array in found.arrays] == ["a.weight", "a.bias", "z.weight", "z.bias"]
    head = {**arrays("x", "c", "b"), "c.weight": np.ones((5, 3), np.float32), "c.bias": np.ones(5, np.float32)}
    found = xpnet.load_torch(net, head, rename={"x": "a"}, strict=False, verbose=False)
    assert found.unexpected == ("c.weight", "c.bias", "b.weight", "b.bias")
