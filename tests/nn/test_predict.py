"""Module.predict: the scores of evaluation mode, of the newest parameters, captured, and from any thread."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from tests.harness import agree, few_on_jax, put, raises, sample
from tests.nn.folding import filled
from xpnet import kernels, nn, optim
from xpnet.autograd import Tensor, backward
from xpnet.backend import use_backend, use_cores
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.nn import predict as predicting
from xpnet.train import Trainer

IMAGES = (5, 6, 7, 3)
MANY = 6  # calls: the first is eager, the second recorded, the third verified, the others are replays


class Observing(nn.Module):
    """A custom module, which keeps how it was called."""

    def __init__(self, body):
        self.body = body
        self.seen = []

    def forward(self, x):
        y = self.body(x)
        self.seen.append((self.training, self.body.training, y.requires_grad, x.shape[0], threading.get_ident()))
        self.last = y
        return y


class Centred(nn.Module):
    """Subtracts the batch's average: each example depends on the others."""

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
    "a custom module": (
        lambda: nn.Sequential(nn.Linear(3, 3), Observing(nn.Sequential(nn.BatchNorm(3), nn.Dropout()))), (5, 3)
    ),
    "one layer": (lambda: nn.Linear(3, 2), (5, 3)),
    "no layer": (lambda: nn.Sequential(), (5, 3)),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False], ids=["in training", "in evaluation mode"])
@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_the_scores_of_evaluation_mode(backend, name, training):
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
    few_on_jax(backend, n in (0, 6))
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


def test_no_layer_is_written_to():
    model = filled(nn.Sequential(nn.Linear(3, 3), Observing(nn.BatchNorm(3)), nn.Dropout()))
    own = model[1]
    for modes in ([True] * 5, [False] * 5, [True, False, True, False, True]):
        for (_, module), mode in zip(model.modules(), modes, strict=True):
            module.training = mode
        before = model.state_dict()
        model.predict(sample(5, 3).astype(np.float32))
        assert [module.training for _, module in model.modules()] == modes
        assert all(np.array_equal(array, before[path]) for path, array in model.state_dict().items())
        assert own.seen.pop()[:3] == (False, False, False)


def test_modes_are_as_before_after_an_error():
    model = filled(nn.Sequential(first=nn.Linear(3, 3), second=nn.Linear(4, 2))).train()
    with raises(ShapeError, "second (linear)", (5, 3)):
        model.predict(sample(5, 3).astype(np.float32))
    assert all(module.training for _, module in model.modules())


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_of_a_model_that_has_predicted_predicts_for_itself(copied: Any):
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)))
    x = sample(5, 3).astype(np.float32)
    for _ in range(MANY):
        want = model.predict(x)
    other = copied(model)
    other[0].weight.data = 0.0 * other[0].weight.data
    assert not np.array_equal(other.predict(x), want)
    assert np.array_equal(model.predict(x), want)


def test_a_model_that_has_predicted_is_freed_without_the_cycle_collector():
    model = filled(convolutional())
    x = sample(*IMAGES).astype(np.float32)
    for _ in range(MANY):
        model.predict(x)
    (recording,) = captured(model).recordings.values()
    held = [weakref.ref(a) for a in (model, model.conv, model.conv.weight, recording.inputs[0], recording.result)]
    del recording
    gc.collect()
    gc.disable()
    try:
        del model
        assert [ref() for ref in held] == [None] * 5
    finally:
        gc.enable()


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
    "an update in evaluation mode": stepped,
    "a write": lambda m: m.fc.weight.data.__imul__(2.0),
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


@pytest.mark.parametrize("calls", [1, MANY], ids=["eager", "captured"])
@pytest.mark.parametrize("change", CHANGES)
def test_predictions_are_of_the_model_as_it_is(change, calls):
    model = filled(nn.Sequential(fc=nn.Linear(3, 3), norm=nn.BatchNorm(3))).eval()
    x = sample(5, 3, seed=3).astype(np.float32)
    for _ in range(calls):
        before = model.predict(x)
    CHANGES[change](model)
    want = model.eval()(Tensor(x)).numpy()
    for _ in range(calls):
        after = model.predict(x)
        assert np.abs(after - before).max() > 1e-3
        agree(after, want, np.float32, 50, change)


def test_a_model_that_is_moved_predicts_where_it_is(backend):
    model = filled(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)))
    x = sample(5, 3, seed=3).astype(np.float32)
    before = model.predict(x)
    agree(model.to(backend).predict(x), before, np.float32, 50, "moved")
    assert model.to("cpu", dtype="float64").predict(x).dtype == np.float64


# Captured.


def captured(model: nn.Module) -> Any:
    return vars(model)["_predictor"]._captured


def ready(model: nn.Module) -> list[bool]:
    """Whether the next prediction of each shape is a replay."""
    return [recording.is_verified for recording in captured(model).recordings.values()]


def everything() -> nn.Sequential:
    return filled(
        nn.Sequential(
            conv=nn.Conv2d(3, 6, 3, padding=1),
            norm=nn.BatchNorm(6),
            act=nn.ReLU(),
            respond=nn.LocalResponseNorm(),
            pool=nn.MaxPool2d(2),
            block=nn.Residual(nn.Sequential(conv=nn.Conv2d(6, 6, 3, padding=1), act=nn.Tanh())),
            average=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            scores=nn.Linear(24, 4),
        )
    )


def images(n: int, seed: int) -> np.ndarray:
    return sample(n, 9, 8, 3, seed=seed).astype(np.float32)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Predict eagerly with a copy of a model."""

    def predict(model: nn.Module, x: np.ndarray) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(predicting, "_SMALL", 0)
            other = everything()
            other.load_state_dict(model.state_dict())
            return other.predict(x)

    return predict


@pytest.mark.parametrize("folders", [None, ("numba",), ()], ids=["all kernels", "without numba", "no kernel"])
@pytest.mark.parametrize("n", [1, 5])
def test_captured_predictions_are_the_eager_ones_bit_for_bit(plain: Any, n: int, folders: tuple[str, ...] | None):
    with kernels.disable(*folders) if folders is not None else use_cores(1):
        model, xs = everything(), [images(n, seed) for seed in range(MANY)]
        wanted = [plain(model, x) for x in xs]
        for x, want in zip(xs, wanted, strict=True):
            assert np.array_equal(model.predict(x), want)
        assert ready(model) == [True]


def test_predictions_that_threads_share_are_captured(plain: Any, eager: None):
    with use_cores(3):
        model, xs = everything(), [images(7, seed) for seed in range(MANY)]
        wanted = [plain(model, x) for x in xs]
        for x, want in zip(xs, wanted, strict=True):
            assert np.array_equal(model.predict(x), want)
        assert ready(model) == [True]


def test_scores_are_not_overwritten_by_later_predictions():
    model, given = everything(), []
    score = predicting.predictor(model)
    for seed in range(MANY):
        y = score(images(2, seed))
        given.append((y, y.copy()))
    assert all(np.array_equal(y, kept) for y, kept in given)
    assert ready(model) == [True]


def test_examples_may_be_strided_and_are_not_written(plain: Any):
    model, xs = everything(), [images(4, seed)[::-2, :, ::-1] for seed in range(MANY)]
    for x in xs:
        x.setflags(write=False)
        agree(model.predict(x), plain(model, x), np.float32, 300, "strided")


def test_kernels_that_are_disabled_are_not_used():
    model, x = everything(), images(2, 0)
    with kernels.disable():
        want = everything().predict(x)
    for _ in range(MANY):
        model.predict(x)
    with kernels.disable():
        assert np.array_equal(model.predict(x), want)


def test_a_shape_that_does_not_fit_is_an_error_each_time():
    model = everything()
    for _ in range(MANY):
        with pytest.raises(ShapeError, match="conv"):
            model.predict(np.ones((2, 9, 8, 4), np.float32))


def test_a_watch_sees_the_layers_of_a_captured_model():
    model, x = everything(), images(2, 0)
    for _ in range(MANY):
        model.predict(x)
    with nn.watch() as seen:
        model.predict(x)
    assert "block.body.conv" in seen


def test_a_custom_module_is_called_each_time():
    model = nn.Sequential(Observing(nn.Flatten()))
    for _ in range(MANY):
        model.predict(images(2, 0))
    assert len(model[0].seen) == MANY


def test_large_batches_are_not_captured(monkeypatch: pytest.MonkeyPatch):
    model = everything()
    monkeypatch.setattr(predicting, "_SMALL", 2 * model.cost((9, 8, 3)).macs + 1)
    for seed in range(MANY):
        model.predict(images(2, seed))
        model.predict(images(3, seed))
    assert ready(model) == [True, False]


MEMORY = """
import gc, tracemalloc
import numpy as np
from xpnet import models

model = models.build("lenet5", (28, 28, 1), 10).initialize(0)
x = np.zeros((200, 28, 28, 1), np.float32)
for _ in range(4):
    model.predict(x)
gc.collect()
tracemalloc.start()  # of numbers of the process, only what is alive does not vary
for {order}:
    model.predict(x[:n])
gc.collect()
print(tracemalloc.get_traced_memory()[0] / 1e6)
"""


@pytest.mark.parametrize(
    "order", ["n in [*range(1, 201, 2)] * 3", "n in sorted([*range(1, 201, 2)] * 3)"], ids=["in turn", "in a row"]
)
def test_predicting_a_hundred_batch_sizes_three_times_keeps_at_most_40_mb(order: str):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY.replace("{order}", order)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 40


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


class Declared(Observing):
    across_batch = False


@pytest.mark.parametrize(("kind", "sizes"), [(Observing, [7]), (Declared, [2, 2, 3])], ids=["unknown", "declared"])
def test_a_custom_module_sees_shards_of_a_batch_only_where_it_declares_that_examples_are_independent(
    eager, kind, sizes
):
    model = filled(nn.Sequential(own=kind(nn.Linear(3, 4)), more=nn.Linear(4, 2)))
    model.cost = lambda shape: nn.Linear(3, 4).cost(shape)
    with use_cores(3):
        model.predict(sample(7, 3).astype(np.float32))
    assert sorted(n for *_, n, _ in model.own.seen) == sizes


def test_a_layer_that_depends_on_the_whole_batch_sees_it(eager):
    model = filled(nn.Sequential(nn.Linear(3, 4), Centred()))
    x = sample(7, 3, seed=3).astype(np.float32)
    with use_cores(3):
        assert abs(model.predict(x).sum(axis=0)).max() < 1e-4


def test_little_work_stays_in_one_thread():
    model = filled(nn.Linear(64, 64))
    score = predicting.predictor(model)
    with use_cores(3):
        score.model.predict(np.zeros((1, 64), np.float32))
        assert [score.threads(np.zeros((n, 64), np.float32)) for n in (1, 2048, 4096, 6144)] == [1, 1, 2, 3]


def test_threads_that_predict_while_another_trains_get_the_scores_of_one_that_is_alone():
    model = filled(convolutional()).train()
    xs = [sample(*IMAGES, seed=seed).astype(np.float32) for seed in range(4)]
    before, wanted = model.state_dict(), [model.predict(x) for x in xs]
    stop, wrong = threading.Event(), []

    def train() -> None:
        other = filled(convolutional())
        while not stop.is_set():
            Trainer(other, threads=1).fit((xs[0], np.arange(5) % 2), epochs=2, batch_size=2)

    def predict(i: int) -> None:
        for j in range(125):
            if not np.array_equal(model.predict(xs[(i + j) % 4]), wanted[(i + j) % 4]):
                wrong.append(i)

    trainer = threading.Thread(target=train)
    threads = [threading.Thread(target=predict, args=(i,)) for i in range(8)]
    for thread in (trainer, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    trainer.join()
    assert not wrong
    assert all(np.array_equal(array, before[path]) for path, array in model.state_dict().items())
    assert all(module.training for _, module in model.modules())


def test_an_error_in_a_thread_names_the_layer_and_ends_every_thread(eager):
    model = filled(nn.Sequential(first=nn.Linear(3, 3), second=nn.Linear(4, 2)))
    model.cost = lambda shape: nn.Linear(3, 3).cost(shape)
    with use_cores(2), raises(ShapeError, "second (linear)", (3, 3), (2, 4)):
        model.predict(sample(6, 3).astype(np.float32))


def test_a_watch_sees_the_layers_of_whole_batches(eager):
    model = filled(nn.Sequential(fc=nn.Linear(3, 4), norm=nn.BatchNorm(4), act=nn.ReLU()))
    with use_cores(2), nn.watch() as seen:
        model.predict(sample(6, 3).astype(np.float32))
    assert {path: y.shape for path, y in seen.items()} == dict.fromkeys(["fc", "norm", "act", ""], (6, 4))


# Bad input.


def test_bytes_are_an_error_that_says_what_to_do():
    with raises(DTypeError, "predict", "uint8", "Trainer.predict"):
        nn.Linear(3, 2).predict(np.zeros((5, 3), np.uint8))


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_batch_has_at_least_one_example(size):
    with raises(ConfigError, "predict", "batch_size", size):
        nn.Linear(3, 2).predict(np.zeros((5, 3), np.float32), batch_size=size)


def test_a_list_is_an_error():
    with raises(DTypeError, "predict", "list", "from_numpy"):
        nn.Linear(3, 2).predict([[1.0, 2.0, 3.0]])


class Both(nn.Module):
    """As a module of xpnet with two inputs, which is recorded."""

    __module__ = "xpnet.nn.both"

    def __init__(self):
        self.left, self.right = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, a, b):
        return self.left(a) + self.right(b)


@pytest.mark.parametrize("named", [False, True])
def test_predictions_of_several_inputs_are_captured(named):
    model, random = Both().initialize(1), np.random.default_rng(2)
    for n in (5, 5, 5, 5, 5, 3, 5):
        a, b = random.normal(size=(n, 3)).astype(np.float32), random.normal(size=(n, 4)).astype(np.float32)
        y = model.predict({"b": b, "a": a} if named else (a, b))
        want = a @ model.left.weight.data.T + b @ model.right.weight.data.T
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)
        model.left.weight.data *= 0.5  # what is written counts from the next prediction
    (found,) = vars(model)["_predictor"]._several.values()
    assert found._captured.reason == ""
    assert any(recording.is_verified for recording in found._captured.recordings.values())


def test_a_model_that_returns_several_tensors_does_not_predict_and_the_error_says_what_it_returned():
    class Two(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x), x

    with pytest.raises(ConfigError, match=r"predict: expected a model that returns a Tensor.*tuple"):
        Two().predict(np.ones((3, 4), np.float32))
