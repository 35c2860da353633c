"""A bias as one more weight of an input that is always 1: the same function and gradients as a separate bias."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, few_on_jax, put, raises, sample
from xpnet import nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend
from xpnet.errors import ConfigError, DTypeError, ShapeError

M, D = 4, 6


def pair(backend, activation=None):
    """Two models of one function: a separate bias, and an augmented one, with the same numbers."""
    layers = () if activation is None else (activation(),)
    with use_backend(backend):
        separate = nn.Sequential(nn.Linear(D, M), *layers)
        augmented = nn.Sequential(nn.Linear(D, M, bias="augmented"), *layers)
    w, b = sample(M, D, seed=1).astype(np.float32), sample(M, seed=2).astype(np.float32)
    separate.load_state_dict({"0.weight": w, "0.bias": b})
    augmented.load_state_dict({"0.weight": np.concatenate([w, b[:, None]], axis=1)})
    return separate, augmented


@pytest.mark.parametrize("activation", [None, nn.ReLU, nn.Tanh], ids=["plain", "relu", "tanh"])
@pytest.mark.parametrize("shape", [(5, D), (2, 3, D), (D,)], ids=str)
def test_outputs_and_gradients_equal_those_of_a_separate_bias(backend, shape, activation):
    if backend.name == "jax" and (shape != (5, D) or activation is nn.Tanh):
        pytest.skip("jax compiles for each shape: a few cases run there")
    results = []
    for model in pair(backend, activation):
        x = Tensor(put(backend, sample(*shape, seed=3), np.float32), requires_grad=True)
        y = model(x)
        dy = sample(*y.shape, seed=4)
        gradients = {t: backend.to_numpy(g) for t, g in backward(y, put(backend, dy, np.float32)).items()}
        results.append((y.numpy(), gradients[x], [gradients[p] for p in model.parameters()]))
    (want, want_dx, (dw, db)), (got, dx, (wide,)) = results
    assert wide.shape == (M, D + 1)
    agree(got, want, np.float32, 2 * D, "outputs")
    agree(dx, want_dx, np.float32, 2 * M, "gradient of the input")
    agree(wide[:, :D], dw, np.float32, 30, "gradient of the weights")
    agree(wide[:, D], db, np.float32, 30, "gradient of the bias")


def test_both_stay_equal_through_training(backend):
    few_on_jax(backend, False)
    models = pair(backend, nn.Tanh)
    optimizers = [optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in models]
    labels = put(backend, np.arange(8) % M)
    x = put(backend, sample(8, D, seed=5), np.float32)
    first = models[0].state_dict()["0.bias"].copy()
    for _ in range(10):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(backward(nn.softmax_cross_entropy(model(Tensor(x)), labels)))
    separate, augmented = (m.state_dict() for m in models)
    agree(augmented["0.weight"][:, :D], separate["0.weight"], np.float32, 200, "weights after 10 steps")
    agree(augmented["0.weight"][:, D], separate["0.bias"], np.float32, 200, "bias after 10 steps")
    assert np.abs(separate["0.bias"] - first).max() > 0.05


@pytest.mark.parametrize("init", [nn.he_normal, nn.glorot_uniform, nn.normal(0.3)], ids=["he", "glorot", "normal"])
def test_the_first_weights_are_those_of_a_separate_bias_bit_for_bit(init):
    separate = nn.Sequential(hidden=nn.Linear(D, M, init=init)).initialize(seed=7).state_dict()
    augmented = nn.Sequential(hidden=nn.Linear(D, M, bias="augmented", init=init)).initialize(seed=7).state_dict()
    wide = augmented["hidden.weight"]
    assert wide.dtype == np.float32
    assert wide[:, :D].tobytes() == separate["hidden.weight"].tobytes()
    assert not wide[:, D].any()
    assert not separate["hidden.bias"].any()


def test_there_is_no_separate_bias_beside_the_column():
    layer = nn.Linear(D, M, bias="augmented")
    assert layer.bias is None
    assert layer.augmented
    assert [p.shape for p in layer.parameters()] == [(M, D + 1)]
    assert layer.parameter_count == nn.Linear(D, M).parameter_count == M * (D + 1)
    assert not nn.Linear(D, M).augmented


def test_an_augmented_layer_follows_its_model_to_another_precision():
    layer = nn.Linear(D, M, bias="augmented").to(dtype="float64")
    y = layer(Tensor(sample(5, D)))
    assert y.dtype == np.float64
    with raises(DTypeError, "linear", "float32", "float64"):
        layer(Tensor(sample(5, D).astype(np.float32)))


def test_the_constant_counts_as_an_input_in_the_cost():
    layer = nn.Linear(D, M, bias="augmented")
    output, macs, saved, *_ = layer.cost((D,))
    assert (output, macs, saved) == ((M,), M * (D + 1), D + 1)
    output, macs, saved, *_ = layer.cost((3, D))
    assert (output, macs, saved) == ((3, M), 3 * M * (D + 1), 3 * (D + 1))
    with raises(ShapeError, "Linear", "D = 6", "(5,)"):
        layer.cost((5,))


@pytest.mark.parametrize("shape", [(5, D + 1), (5, D - 1), ()], ids=str)
def test_features_that_disagree_are_an_error_in_the_callers_numbers(backend, shape):
    with use_backend(backend):
        model = nn.Sequential(scores=nn.Linear(D, M, bias="augmented"))
    with raises(ShapeError, "scores (Linear)", "D = 6", f"x {shape}"):
        model(Tensor(put(backend, np.ones(shape), np.float32)))


@pytest.mark.parametrize(
    ("bias", "hint"),
    [
        ("augment", "did you mean 'augmented'?"),
        ("true", "did you mean 'True'?"),
        (None, "choose one of False, True, augmented"),
        (1, "choose one of False, True, augmented"),
    ],
    ids=["augment", "true", "None", "1"],
)
def test_another_word_for_the_bias_is_an_error_that_names_the_nearest(bias, hint):
    with raises(ConfigError, "Linear", repr(bias), hint):
        nn.Linear(D, M, bias=bias)
