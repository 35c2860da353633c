"""Models by name: built for any image, and LeNet-5 against the same network in torch."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from xpnet import models, nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import get_backend, use_backend
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (17, 13, 2)]
LABELS = np.asarray([3, 9])
NUMPY = get_backend("numpy")


def learn(backend, name, shape):
    """One forward and backward pass of two examples, from weights none of which is 0, so that all gradients show."""
    with use_backend(backend):
        model = models.build(name, shape, 10).train()
    for path, state in model.states().items():
        state.data = backend.from_numpy(nn.glorot_normal(Key(1, path), state.shape))
    recipe = models.MODELS[name]
    scores = model(Tensor(put(backend, sample(2, *shape), np.float32)))
    return model, scores, backward(recipe.loss(scores, put(backend, LABELS)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_learns_from_images_of_any_size(name, shape):
    model, scores, gradients = learn(NUMPY, name, shape)
    assert scores.shape == (2, 10)
    assert model.cost(shape).output == (10,)
    assert set(gradients) == set(model.parameters())
    for p, g in gradients.items():
        assert g.shape == p.shape
        assert np.isfinite(g).all()
        assert np.any(g)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_runs_on_every_backend_to_the_same_scores(backend, name):
    if (backend.name, name) == ("jax", "cnn"):
        pytest.skip("slow to compile, and lenet5 is of the same ops")
    model, scores, gradients = learn(backend, name, (8, 8, 1))
    _, want, expected = learn(NUMPY, name, (8, 8, 1))
    assert model.backend == backend
    agree(scores.numpy(), want.numpy(), np.float32, 1024, name)
    for (p, g), (q, h) in zip(sorted_by_path(gradients), sorted_by_path(expected), strict=True):
        assert p == q
        agree(backend.to_numpy(g), h, np.float32, 1024, p)


def sorted_by_path(gradients):
    return sorted((p.path, g) for p, g in gradients.items())


@pytest.mark.parametrize("name", ["perceptron", "softmax", "mlp"])
def test_models_without_convolutions_take_rows_of_features(name):
    _, scores, _ = learn(NUMPY, name, (7,))
    assert scores.shape == (2, 10)


def test_sizes_are_those_of_the_literature():
    sizes = {name: models.build(name, (28, 28, 1), 10).parameter_count for name in models.MODELS}
    assert sizes["lenet5"] == 61_706
    assert sizes["perceptron"] == sizes["softmax"] == 7_850
    assert sizes["mlp"] == 784 * 128 + 128 + 128 * 10 + 10
    assert sizes["cnn"] == 320 + 18_496 + 7 * 7 * 64 * 128 + 128 + 1_290


def test_layers_have_the_names_of_the_literature():
    paths = list(models.build("lenet5", (28, 28, 1), 10).states())
    assert paths == [f"{n}.{k}" for n in ("conv1", "conv2", "fc3", "fc4", "scores") for k in ("weight", "bias")]
    weights = list(models.mlp((4,), 2, hidden=(5, 3)).states())[::2]
    assert weights == ["hidden1.weight", "hidden2.weight", "scores.weight"]


def test_building_a_model_makes_no_array():
    for name in models.MODELS:
        model = models.build(name, (28, 28, 1), 10)
        assert not any(state.made for state in model.states().values())


def test_perceptrons_and_softmax_regression_begin_at_zero():
    for name in ("perceptron", "softmax"):
        assert not models.build(name, (4, 4, 1), 3).state_dict()["scores.weight"].any()


def test_an_mlp_may_have_any_hidden_layers():
    for hidden in ((), (5,), (7, 6, 5)):
        model = models.mlp((4, 3), 2, hidden=hidden)
        assert len(model) == 2 + 2 * len(hidden)
        assert model.cost((4, 3)).output == (2,)


@pytest.mark.parametrize(("name", "close"), [("lenet", "'lenet5'"), ("MLP", "'mlp'"), ("sofmax", "'softmax'")])
def test_a_mistyped_name_gives_the_nearest(name, close):
    with raises(ConfigError, "model", repr(name), close):
        models.build(name, (28, 28, 1), 10)


def test_a_name_like_no_other_gives_all():
    with raises(ConfigError, "model", "'xyzzy'", *models.MODELS):
        models.build("xyzzy", (28, 28, 1), 10)


@pytest.mark.parametrize("shape", [(3, 8, 1), (8, 3, 1), (8, 8, 0), (28, 28), (64,)], ids=str)
@pytest.mark.parametrize("name", ["lenet5", "cnn"])
def test_an_image_too_small_for_the_windows_is_refused(name, shape):
    with raises(ShapeError, name, str(shape), "mlp"):
        models.build(name, shape, 10)


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 9, 3), (11, 12, 1), (12, 12, 1), (13, 5, 2)], ids=str)
@pytest.mark.parametrize("name", ["lenet5", "cnn"])
def test_the_smallest_images_still_fit(name, shape):
    _, scores, _ = learn(NUMPY, name, shape)
    assert scores.shape == (2, 10)


def test_fewer_than_two_classes_are_refused():
    with raises(ConfigError, "model", "1"):
        models.build("softmax", (8, 8, 1), 1)


def test_recipes_name_a_loss_and_an_optimizer_that_exist():
    for name, recipe in models.MODELS.items():
        assert callable(recipe.loss), name
        assert recipe.optimizer in optim.OPTIMIZERS, name
        assert 0 < recipe.lr < 1, name
        assert list(inspect.signature(recipe.build).parameters)[:2] == ["shape", "classes"]


def test_lenet5_is_torchs_with_the_same_weights(backend):
    if backend.name == "jax":
        pytest.skip("slow to compile; the test of every model compares it with NumPy")
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    with use_backend(backend):
        model = models.lenet5((28, 28, 1), 10).initialize(4)
    x = sample(3, 28, 28, 1, seed=2, low=0.0, high=1.0)
    s = {k: torch.from_numpy(v.astype(np.float64)).requires_grad_() for k, v in model.state_dict().items()}

    def conv(name, z, padding):
        w = s[f"{name}.weight"].permute(0, 3, 1, 2)  # filters last-channel to torch's channel-first
        return F.max_pool2d(F.relu(F.conv2d(z, w, s[f"{name}.bias"], padding=padding)), 2)

    z = conv("conv2", conv("conv1", torch.from_numpy(x).permute(0, 3, 1, 2), 2), 0)
    z = z.permute(0, 2, 3, 1).flatten(1)  # our rows hold height, width, channel
    for name in ("fc3", "fc4"):
        z = F.relu(F.linear(z, s[f"{name}.weight"], s[f"{name}.bias"]))
    z = F.linear(z, s["scores.weight"], s["scores.bias"])
    labels = np.asarray([1, 0, 7])
    F.cross_entropy(z, torch.from_numpy(labels)).backward()

    scores = model(Tensor(put(backend, x, np.float32)))
    agree(scores.numpy(), z.detach().numpy(), np.float32, 400, "scores")
    found = backward(nn.softmax_cross_entropy(scores, put(backend, labels)))
    for p, g in found.items():
        agree(backend.to_numpy(g), s[p.path].grad.numpy(), np.float32, 400, p.path)
