"""Sequential and Residual: order, names, slices, and activations computed within the op before them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend
from xpnet.errors import ConfigError, ShapeError

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU}


def network(act):
    return nn.Sequential(
        conv=nn.Conv2d(3, 4, 3, padding=1), act1=act(), flatten=nn.Flatten(), fc=nn.Linear(60, 5), act2=act()
    )


def one_by_one(model, x):
    for layer in model:
        x = layer(x)
    return x


def gradients(backend, model, run, x):
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    y = run(t)
    found = backward(y, put(backend, sample(*y.shape, seed=9), np.float32))
    return [y.numpy(), *(backend.to_numpy(found[leaf]) for leaf in (t, *model.parameters()))]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fused_layers_give_what_the_layers_give_one_by_one(backend, name):
    with use_backend(backend):
        model = network(ACTIVATIONS[name])
    x = sample(2, 3, 5, 3, seed=1)
    fused = gradients(backend, model, model, x)
    apart = gradients(backend, model, lambda t: one_by_one(model, t), x)
    for got, want in zip(fused, apart, strict=True):
        agree(got, want, np.float32, 32, name)


def ops_of(y):
    """How many ops made a tensor."""
    count, nodes = 0, [y.node]
    while nodes:
        node = nodes.pop()
        if hasattr(node, "parents"):
            count += 1
            nodes.extend(node.parents)
    return count


def test_an_activation_after_a_linear_or_a_convolution_is_part_of_its_op():
    model, x = network(nn.ReLU), Tensor(sample(2, 3, 5, 3).astype(np.float32))
    assert ops_of(model(x)) == 3
    assert ops_of(one_by_one(model, x)) == 5
    assert [name for name, _ in model.children()] == ["conv", "act1", "flatten", "fc", "act2"]
    assert len(model) == 5


def test_only_one_activation_is_fused_and_only_after_a_layer_that_can():
    x = Tensor(-np.ones((2, 3), np.float32))
    model = nn.Sequential(nn.Tanh(), nn.Linear(3, 3), nn.Sigmoid(), nn.Tanh(), nn.LayerNorm(3), nn.ReLU())
    np.testing.assert_allclose(model(x).numpy(), one_by_one(model, x).numpy(), rtol=1e-6, atol=1e-6)
    assert ops_of(model(x)) == 4  # tanh has no parameter before it and leaves no node


def test_an_activation_that_ops_do_not_know_is_called_on_its_own():
    x = Tensor(-np.ones((2, 3), np.float32))
    for act in (nn.LeakyReLU(0.3), nn.Softmax(), nn.LogSoftmax()):
        model = nn.Sequential(nn.Linear(3, 3), act)
        assert np.array_equal(model(x).numpy(), one_by_one(model, x).numpy())


def test_a_layer_put_in_another_place_is_used_from_then_on():
    x = Tensor(sample(2, 3, 5, 3).astype(np.float32))
    model = network(nn.ReLU)
    model(x)
    model.act2 = nn.Tanh()
    model.conv = nn.Conv2d(3, 4, 5, padding=2)
    assert np.array_equal(model(x).numpy() < 0, one_by_one(model, x).numpy() < 0)
    np.testing.assert_allclose(model(x).numpy(), one_by_one(model, x).numpy(), rtol=1e-5, atol=1e-6)
    model.head = nn.Linear(5, 2)
    assert tuple(model(x).shape) == (2, 2)
    assert [name for name, _ in model.children()] == ["conv", "act1", "flatten", "fc", "act2", "head"]


def test_a_layer_that_is_deleted_is_not_used_any_more():
    x = Tensor(-np.ones((2, 3), np.float32))
    model = nn.Sequential(fc=nn.Linear(3, 3, init=nn.ones), act=nn.ReLU())
    model(x)
    del model.act
    assert (model(x).numpy() == -3.0).all()


def test_a_slope_that_is_changed_is_used_from_then_on():
    x = Tensor(-np.ones((2, 3), np.float32))
    model = nn.Sequential(fc=nn.Linear(3, 3, init=nn.ones), act=nn.LeakyReLU())
    model(x)
    model.act.slope = 0.5
    assert (model(x).numpy() == -1.5).all()


def test_layers_have_numbers_or_names_for_paths():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), head=nn.Linear(4, 2))
    assert list(model.states()) == ["0.weight", "0.bias", "head.weight", "head.bias"]
    outer = nn.Sequential(body=model, tail=nn.Linear(2, 1))
    assert list(outer.states())[:4] == ["body.0.weight", "body.0.bias", "body.head.weight", "body.head.bias"]


def test_indices_give_layers_and_slices_give_sequences():
    model = network(nn.ReLU)
    layers = list(model)
    assert model[0] is layers[0]
    assert model[-1] is layers[-1]
    head = model[2:4]
    assert isinstance(head, nn.Sequential)
    assert [a is b for a, b in zip(head, layers[2:4], strict=True)] == [True, True]


def test_a_slice_computes_what_its_layers_do():
    model, x = network(nn.ReLU), Tensor(sample(2, 3, 5, 3).astype(np.float32))
    y = model(x).numpy()
    assert np.array_equal(model[2:](model[:2](x)).numpy(), y)


def test_a_slice_leaves_the_models_paths_alone():
    model = network(nn.ReLU)
    before = list(model.states())
    assert len(model[2:]) == 3
    assert list(model.states()) == before
    assert [s.path for s in model.states().values()] == before


def test_an_empty_sequence_passes_on_what_comes_in():
    x = Tensor(np.ones((2, 3), np.float32))
    assert nn.Sequential()(x) is x
    assert nn.Sequential().cost((3,)) == ((3,), 0, 0, "=")


def test_a_layer_that_is_no_module_is_refused():
    with raises(ConfigError, "Sequential", "1 of type function"):
        nn.Sequential(nn.Linear(2, 2), lambda x: x)
    with raises(ConfigError, "Sequential", "act of type type"):
        nn.Sequential(act=nn.ReLU)


@pytest.mark.parametrize("name", ["forward", "path", "training", "cost"])
def test_a_layer_named_like_a_part_of_every_module_is_refused(name):
    with pytest.raises(ConfigError, match=name):
        nn.Sequential(**{name: nn.ReLU()})


# Residual.


def test_a_residual_adds_what_came_in(backend):
    with use_backend(backend):
        body = nn.Linear(4, 4)
        block = nn.Residual(body)
    x = sample(3, 4, seed=1)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    y, w = block(t), body.weight.numpy()
    agree(y.numpy(), x @ w.T + x, np.float32, 4, "y")
    dy = sample(3, 4, seed=2)
    agree(backend.to_numpy(backward(y, put(backend, dy, np.float32))[t]), dy @ w + dy, np.float32, 4, "dx")


def test_a_residual_takes_a_shortcut_where_sizes_differ():
    body, shortcut = nn.Linear(4, 3), nn.Linear(4, 3, bias=False)
    block, x = nn.Residual(body, shortcut), sample(2, 4).astype(np.float32)
    want = x @ (body.weight.numpy() + shortcut.weight.numpy()).T
    np.testing.assert_allclose(block(Tensor(x)).numpy(), want, rtol=1e-5, atol=1e-6)
    assert list(block.states()) == ["body.weight", "body.bias", "shortcut.weight"]


def test_a_residual_whose_ways_differ_in_shape_is_refused_by_path():
    model = nn.Sequential(block=nn.Residual(nn.Linear(4, 3)))
    with raises(ShapeError, "block (Residual)", "body (2, 3)", "shortcut (2, 4)"):
        model(Tensor(np.zeros((2, 4), np.float32)))
