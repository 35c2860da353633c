"""Module.predict: the scores of inference, whatever mode the model is in, and never those of yesterday's parameters."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from tests.nn.collapsing import filled
from xpnet import nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend, use_cores
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.nn import predict as predicting

IMAGES = (5, 6, 7, 3)


class Noting(nn.Module):
    """A module of one's own, which notes how it was called."""

    def __init__(self, body):
        self.body = body
        self.seen = []

    def forward(self, x):
        y = self.body(x)
        self.seen.append((self.training, self.body.training, y.requires_grad, x.shape[0], threading.get_ident()))
        self.last = y
        return y


class Centred(nn.Module):
    """What a batch has more than its average: each example depends on the others."""

    def forward(self, x):
        return x - x.mean(axis=0, keepdims=True)


def convolutional():
    return nn.Sequential(
        conv=nn.Conv2d(3, 4, 3, padding=1, bias=False),
        norm=nn.BatchNorm(4),
        act=nn.ReLU(),
        block=nn.Residual(
            nn.Sequential(conv=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm(4), act=nn.Tanh(), drop=nn.Dropout())
        ),
        drop=nn.Dropout(0.9),
        flatten=nn.Flatten(),
        scores=nn.Linear(168, 2),
    )


MODELS = {
    "convolutions and norms": (convolutional, IMAGES),
    "a norm by itself": (lambda: nn.Sequential(act=nn.ReLU(), norm=nn.BatchNorm(3), more=nn.Sigmoid()), (5, 3)),
    "layers without a norm": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))), (5, 3)
    ),
    "a module of one's own": (
        lambda: nn.Sequential(nn.Linear(3, 3), Noting(nn.Sequential(nn.BatchNorm(3), nn.Dropout())), nn.ReLU()), (5, 3)
    ),
    "one layer": (lambda: nn.Linear(3, 2), (5, 3)),
    "no layer": (lambda: nn.Sequential(), (5, 3)),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False], ids=["in training", "in inference"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_the_scores_of_inference(backend, name, training):
    make, shape = MODELS[name]
    with use_backend(backend):
        model = filled(make()).train(training)
        x = sample(*shape, seed=3).astype(np.float32)
        got = model.predict(x)
    assert type(got) is np.ndarray
    model.eval()
    agree(got, backend.to_numpy(model(Tensor(put(backend, x, np.float32))).data), np.float32, 300, name)


def test_a_folded_norm_is_by_the_running_averages():
    model = filled(nn.Sequential(fc=nn.Linear(3, 4), norm=nn.BatchNorm(4, eps=0.5))).train()
    x = sample(5, 3, seed=3)
    w, b, gamma, beta, mean, var = (s.numpy().astype(np.float64) for s in model.states().values())
    want = gamma * (x @ w.T + b - mean) / np.sqrt(var + 0.5) + beta
    agree(model.predict(x.astype(np.float32)), want, np.float32, 10, "fc, norm")


def test_what_is_on_the_models_backend_stays_there(backend):
    with use_backend(backend):
        model = filled(nn.Linear(3, 2))
    x = sample(7, 3, seed=3)
    got = model.predict(put(backend, x, np.float32), batch_size=3)
    assert type(got) is type(model.weight.data)
    assert np.array_equal(backend.to_numpy(got), model.predict(x.astype(np.float32), batch_size=3))
    assert type(model.predict(Tensor(put(backend, x, np.float32)))) is type(got)


@pytest.mark.parametrize("n", [0, 1, 6, 7])
def test_batches_of_any_size_give_the_same_scores(backend, n):
    with use_backend(backend):
        model = filled(convolutional())
    x = sample(7, *IMAGES[1:], seed=3).astype(np.float32)[:n]
    assert model.predict(x, batch_size=3).shape == (n, 2)
    agree(model.predict(x, batch_size=3), model.predict(x), np.float32, 300, "batches of 3")


def test_numbers_of_the_host_may_have_another_precision():
    model = filled(nn.Linear(3, 2))
    x = sample(5, 3, seed=3)
    assert np.array_equal(model.predict(x), model.predict(x.astype(np.float32)))
    assert filled(nn.Linear(3, 2), "float64").predict(x.astype(np.float32)).dtype == np.float64


def test_scores_are_no_view_of_what_came_in():
    x = sample(5, 3).astype(np.float32)
    nn.Flatten().predict(x)[...] = 0.0
    assert np.array_equal(x, sample(5, 3).astype(np.float32))


# The model stays as it was.


def test_each_layer_is_left_in_its_mode():
    model = filled(nn.Sequential(nn.Linear(3, 3), Noting(nn.BatchNorm(3)), nn.Dropout()))
    own = model[1]
    for modes in ([True] * 5, [False] * 5, [True, False, True, False, True]):
        for (_, module), mode in zip(model.modules(), modes, strict=True):
            module.training = mode
        before = model.state_dict()
        model.predict(sample(5, 3).astype(np.float32))
        assert [module.training for _, module in model.modules()] == modes
        assert all(np.array_equal(array, before[path]) for path, array in model.state_dict().items())
        assert own.seen.pop()[:3] == (False, False, False)


def test_modes_are_put_back_after_an_error():
    model = filled(nn.Sequential(first=nn.Linear(3, 3), second=nn.Linear(4, 2))).train()
    with raises(ShapeError, "second (linear)", (5, 3)):
        model.predict(sample(5, 3).astype(np.float32))
    assert all(module.training for _, module in model.modules())


def test_paths_stay_those_of_the_model():
    model = nn.Sequential(features=nn.Sequential(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm(4)), tail=nn.Flatten())
    paths = list(model.states())
    model.features.predict(sample(*IMAGES).astype(np.float32))
    assert [state.path for state in model.states().values()] == paths
    want = nn.Sequential(features=nn.Sequential(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm(4))).initialize(0)
    assert np.array_equal(model.features.conv.weight.numpy(), want.features.conv.weight.numpy())


def test_a_copy_of_a_model_that_has_predicted_predicts_for_itself():
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)))
    x = sample(5, 3).astype(np.float32)
    want = model.predict(x)
    other = copy.deepcopy(model)
    other[0].weight.data = 0.0 * other[0].weight.data
    assert not np.array_equal(other.predict(x), want)
    assert np.array_equal(model.predict(x), want)


# Nothing is out of date.


def stepped(model):
    x, labels = Tensor(sample(5, 3).astype(np.float32)), np.arange(5) % 3
    optim.SGD(model.parameters(), lr=0.5).step(backward(nn.softmax_cross_entropy(model(x), labels)))


def emptied(model):
    del model.norm


def written(model):
    model.train()
    model.fc.weight.data[...] *= 2.0
    model.eval()


CHANGES = {
    "an update in inference": stepped,
    "an update in training": lambda m: (m.train(), stepped(m), m.eval()),
    "training alone": lambda m: (m.train(), m(Tensor(sample(5, 3).astype(np.float32))), m.eval()),
    "a write between train and eval": written,
    "load_state_dict": lambda m: m.load_state_dict({k: 2.0 * v for k, v in m.state_dict().items()}),
    "initialize": lambda m: m.initialize(seed=3),
    "a new array": lambda m: setattr(m.norm.beta, "data", m.norm.beta.data + 1.0),
    "a new layer": lambda m: setattr(m, "fc", filled(nn.Linear(3, 3, False)).eval()),
    "a layer less": emptied,
    "a setting": lambda m: setattr(m.norm, "eps", 3.0),
}


@pytest.mark.parametrize("calls", [1, 5], ids=["computed", "noted"])
@pytest.mark.parametrize("change", CHANGES)
def test_predictions_follow(change, calls):
    model = filled(nn.Sequential(fc=nn.Linear(3, 3), norm=nn.BatchNorm(3))).eval()
    x = sample(5, 3, seed=3).astype(np.float32)
    for _ in range(calls):
        before = model.predict(x)
    CHANGES[change](model)
    want = model(Tensor(x)).numpy()
    for _ in range(calls):
        after = model.predict(x)
        assert np.abs(after - before).max() > 1e-3
        agree(after, want, np.float32, 50, change)


def test_predictions_follow_an_optimizer_that_was_there_before():
    model = filled(nn.Sequential(fc=nn.Linear(3, 3), norm=nn.BatchNorm(3))).eval()
    x, labels = sample(5, 3, seed=3).astype(np.float32), np.arange(5) % 3
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        before = model.predict(x)
        optimizer.step(backward(nn.softmax_cross_entropy(model(Tensor(x)), labels)))
        assert np.abs(model.predict(x) - before).max() > 1e-3
        agree(model.predict(x), model(Tensor(x)).numpy(), np.float32, 50, "after an update")


def test_predictions_in_training_follow_whatever_is_written():
    model = filled(nn.Sequential(fc=nn.Linear(3, 3), norm=nn.BatchNorm(3))).train()
    x = sample(5, 3, seed=3).astype(np.float32)
    model.predict(x)
    model.fc.weight.data[...] *= 2.0
    after = model.predict(x)
    agree(after, model.eval()(Tensor(x)).numpy(), np.float32, 50, "written in training")


def test_predictions_follow_to_another_backend(backend):
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)))
    x = sample(5, 3, seed=3).astype(np.float32)
    before = model.predict(x)
    agree(model.to(backend).predict(x), before, np.float32, 50, "moved")
    assert model.to("cpu", dtype="float64").predict(x).dtype == np.float64


def test_what_is_written_to_a_layer_without_a_norm_is_seen():
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)))
    x = sample(5, 3, seed=3).astype(np.float32)
    model.predict(x)
    model[0].weight.data[...] = 0.0
    assert np.array_equal(model.predict(x), model(Tensor(x)).numpy())


def test_norms_are_folded_once_while_nothing_changes(monkeypatch):
    made, real = [], predicting.Plan.__init__
    monkeypatch.setattr(predicting.Plan, "__init__", lambda self, model: (made.append(model), real(self, model))[1])
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3), Noting(nn.Linear(3, 2)))).eval()
    for n in (5, 1, 5):
        model.predict(sample(n, 3).astype(np.float32))
        model.eval()
    assert len(made) == 1


# Threads.


@pytest.fixture
def eager(monkeypatch):
    """Every batch is worth as many threads as there are."""
    monkeypatch.setattr(predicting, "_SHARE", 1)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_threads_share_the_examples_of_a_batch(eager, n):
    model = filled(convolutional())
    x = sample(7, *IMAGES[1:], seed=3).astype(np.float32)[:n]
    alone = model.predict(x)
    with use_cores(3):
        agree(model.predict(x), alone, np.float32, 300, "three threads")


class Declared(Noting):
    across_batch = False


@pytest.mark.parametrize(("kind", "sizes"), [(Noting, [7]), (Declared, [2, 2, 3])], ids=["unknown", "declared"])
def test_a_module_of_ones_own_sees_parts_of_a_batch_only_where_it_says_so(eager, kind, sizes):
    model = filled(nn.Sequential(own=kind(nn.Linear(3, 4)), more=nn.Linear(4, 2)))
    model.cost = lambda shape: nn.Linear(3, 4).cost(shape)
    with use_cores(3):
        model.predict(sample(7, 3).astype(np.float32))
    assert sorted(n for *_, n, _ in model.own.seen) == sizes


def test_what_looks_across_a_batch_gets_it_whole(eager):
    model = filled(nn.Sequential(nn.Linear(3, 4), Centred()))
    x = sample(7, 3, seed=3).astype(np.float32)
    with use_cores(3):
        assert abs(model.predict(x).sum(axis=0)).max() < 1e-4


def test_little_work_stays_in_one_thread():
    plan = predicting.Plan(filled(nn.Linear(64, 64)))
    with use_cores(3):
        assert [plan.threads(np.zeros((n, 64), np.float32)) for n in (1, 2048, 4096, 6144)] == [1, 1, 2, 3]


def test_an_error_in_a_thread_names_the_layer_and_ends_every_thread(eager):
    model = filled(nn.Sequential(first=nn.Linear(3, 3), second=nn.Linear(4, 2)))
    model.cost = lambda shape: nn.Linear(3, 3).cost(shape)
    with use_cores(2), raises(ShapeError, "second (linear)", (3, 3), (2, 4)):
        model.predict(sample(6, 3).astype(np.float32))


def test_an_error_in_a_folded_layer_names_it():
    model = filled(nn.Sequential(body=nn.Sequential(fc=nn.Linear(3, 4), norm=nn.BatchNorm(4))))
    with raises(ShapeError, "body.fc (linear)", (5, 2)):
        model.predict(sample(5, 2).astype(np.float32))


def test_a_watch_sees_the_layers_of_whole_batches(eager):
    model = filled(nn.Sequential(fc=nn.Linear(3, 4), norm=nn.BatchNorm(4), act=nn.ReLU()))
    with use_cores(2), nn.watch() as seen:
        model.predict(sample(6, 3).astype(np.float32))
    assert {path: y.shape for path, y in seen.items()} == dict.fromkeys(["fc", "norm", "act", ""], (6, 4))


# Bad input.


def test_bytes_are_refused_with_what_to_do():
    with raises(DTypeError, "predict", "uint8", "Trainer.predict"):
        nn.Linear(3, 2).predict(np.zeros((5, 3), np.uint8))


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_batch_has_at_least_one_example(size):
    with raises(ConfigError, "predict", "batch_size", size):
        nn.Linear(3, 2).predict(np.zeros((5, 3), np.float32), batch_size=size)


def test_a_list_is_refused():
    with raises(DTypeError, "predict", "list", "from_numpy"):
        nn.Linear(3, 2).predict([[1.0, 2.0, 3.0]])
