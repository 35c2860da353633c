"""Models by name: built for any image they have room for, and the same on every backend."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest

from tests.harness import agree, few_on_jax, put, raises, sample
from xpnet import models, nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import get_backend, use_backend
from xpnet.errors import ConfigError

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (17, 13, 2)]
# the larger ones: images hardly larger than the smallest they take, and few hidden neurons where there are 4096
LARGE = {"alexnet": (67, 75, 1), "vgg16": (32, 47, 2), "resnet18": (40, 35, 3)}
OPTIONS = {"alexnet": {"hidden": 40}, "vgg16": {"hidden": 40}}
CASES = [(name, shape) for name in models.MODELS for shape in ([LARGE[name]] if name in LARGE else SHAPES)]
LABELS = np.asarray([3, 9])
NUMPY = get_backend("numpy")


def learn(backend, name, shape):
    """One forward and backward pass of two examples, from weights none of which is 0, so that all gradients show."""
    recipe = models.MODELS[name]
    with use_backend(backend):
        model = recipe.build(shape, 10, **OPTIONS.get(name, {})).train()
    for seed, state in enumerate(model.states().values()):
        width = np.sqrt(6.0 / np.prod(state.shape[1:]))
        state.data = backend.from_numpy(
            np.random.default_rng(seed).uniform(-width, width, state.shape).astype("float32")
        )
    scores = model(Tensor(put(backend, sample(2, *shape), np.float32)))
    gradients = backward(recipe.loss(scores, put(backend, LABELS)))
    assert set(gradients) == set(model.parameters())
    return model, scores.numpy(), {p.path: backend.to_numpy(g) for p, g in gradients.items()}


learn_on_numpy = functools.cache(functools.partial(learn, NUMPY))


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_every_model_learns_from_images_of_any_size(name, shape):
    model, scores, gradients = learn_on_numpy(name, shape)
    assert scores.shape == (2, 10)
    assert model.cost(shape).output == (10,)
    for p in model.parameters():
        g = gradients[p.path]
        assert g.shape == p.shape
        assert np.isfinite(g).all()
        assert np.any(g)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_runs_on_every_backend_to_the_same_scores(backend, name):
    few_on_jax(backend, name in ("mlp", "lenet5"))  # the others' layers: tests/nn
    shape = LARGE.get(name, (8, 8, 1))
    model, scores, gradients = learn(backend, name, shape)
    _, want, expected = learn_on_numpy(name, shape)
    assert model.backend == backend
    agree(scores, want, np.float32, 1024, name)
    for path, g in gradients.items():
        some = slice(None, None, 1 + g.size // 100_000)  # each of a small one, some of a large one
        agree(g.ravel()[some], expected[path].ravel()[some], np.float32, 1024, path)


@pytest.mark.parametrize("name", ["perceptron", "softmax", "mlp"])
def test_models_without_convolutions_take_rows_of_features(name):
    _, scores, _ = learn(NUMPY, name, (7,))
    assert scores.shape == (2, 10)


def test_layers_have_the_names_of_the_literature():
    paths = list(models.build("lenet5", (28, 28, 1), 10).states())
    assert paths == [f"{n}.{k}" for n in ("conv1", "conv2", "fc3", "fc4", "scores") for k in ("weight", "bias")]
    weights = list(models.mlp((4,), 2, hidden=(5, 3)).states())[::2]
    assert weights == ["hidden1.weight", "hidden2.weight", "scores.weight"]


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


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 9, 3), (11, 12, 1), (12, 12, 1), (13, 5, 2)], ids=str)
@pytest.mark.parametrize("name", ["lenet5", "cnn"])
def test_the_smallest_images_still_fit(name, shape):
    _, scores, _ = learn(NUMPY, name, shape)
    assert scores.shape == (2, 10)


def test_a_model_has_an_output_at_least():
    with raises(ConfigError, "build", "classes >= 1"):
        models.build("softmax", (8, 8, 1), 0)


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


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_half_of_the_hidden_neurons_are_dropped_in_training_and_none_in_inference(name):
    model = models.MODELS[name].build(LARGE[name], 3, hidden=200)
    x = Tensor(sample(2, *LARGE[name]).astype(np.float32))
    for training in (True, False):
        with nn.watch() as seen:
            model.train(training)(x)
        for i in (6, 7):
            whole, left = seen[f"relu{i}"].numpy(), seen[f"drop{i}"].numpy()
            kept = left != 0
            np.testing.assert_allclose(left[kept], (2.0 if training else 1.0) * whole[kept], rtol=1e-6)
            share = np.sum(kept) / np.sum(whole > 0)
            assert 0.35 < share < 0.65 if training else share == 1.0


def test_alexnet_and_vgg16_may_have_fewer_hidden_neurons():
    for name in ("alexnet", "vgg16"):
        model = models.MODELS[name].build(LARGE[name], 3, hidden=7)
        assert (model.fc6.weight.shape[0], model.fc7.weight.shape, model.fc8.weight.shape) == (7, (7, 7), (3, 7))
