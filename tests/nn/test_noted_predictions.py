"""Predictions of a shape that came before: what they launch is noted, and done again to the same bits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.harness import sample
from tests.nn.collapsing import filled
from xpnet import kernels, nn
from xpnet.autograd import Tensor
from xpnet.backend import use_cores
from xpnet.errors import ShapeError
from xpnet.nn import predict as predicting

MANY = 6  # calls, of which the first is computed, the second noted, the third both, and the others done again


def images(n: int, seed: int) -> np.ndarray:
    return sample(n, 9, 8, 3, seed=seed).astype(np.float32)


def network() -> nn.Sequential:
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
    ).eval()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module, np.ndarray], np.ndarray]:
    """Predict with a fresh copy of a model, by its layers."""

    def predict(model: nn.Module, x: np.ndarray) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(predicting, "_NOTED", 0)
            other = network()
            other.load_state_dict(model.state_dict())
            return other.predict(x)

    return predict


def ways(model: nn.Module) -> list[str]:
    """How the next call of each shape would be computed."""
    return [noted.next.__name__ for noted in vars(model)["_prediction"].noted.values()]


@pytest.mark.parametrize("folders", [None, ("numba",), ()], ids=["all kernels", "without numba", "no kernel"])
@pytest.mark.parametrize("n", [1, 5])
def test_each_prediction_has_the_bits_of_the_layers(plain: Any, n: int, folders: tuple[str, ...] | None) -> None:
    with kernels.disable(*folders) if folders is not None else use_cores(1):
        model, xs = network(), [images(n, seed) for seed in range(MANY)]
        wanted = [plain(model, x) for x in xs]
        for x, want in zip(xs, wanted, strict=True):
            assert np.array_equal(model.predict(x), want)
        assert ways(model) == ["replay"]


def test_parts_of_a_batch_are_noted_in_their_threads(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "_SHARE", 1)
    with use_cores(3):
        model, xs = network(), [images(7, seed) for seed in range(MANY)]
        wanted = [plain(model, x) for x in xs]
        for x, want in zip(xs, wanted, strict=True):
            assert np.array_equal(model.predict(x), want)
        assert ways(model) == ["replay"]


def test_scores_given_before_are_not_overwritten() -> None:
    model, given = network(), []
    with predicting.predicting(model) as score:
        for seed in range(MANY):
            y = score(images(2, seed))
            given.append((y, y.copy()))
    assert all(np.array_equal(y, kept) for y, kept in given)


def test_examples_may_be_strided_and_are_not_written(plain: Any) -> None:
    model, xs = network(), [images(4, seed)[::-2, :, ::-1] for seed in range(MANY)]
    wanted = [plain(model, x) for x in xs]
    for x, want in zip(xs, wanted, strict=True):
        x.setflags(write=False)
        assert np.array_equal(model.predict(x), want)


def test_what_is_written_into_an_unfolded_layer_is_seen(plain: Any) -> None:
    model, x = network(), images(2, 0)
    for _ in range(MANY):
        before = model.predict(x)
    assert ways(model) == ["replay"]
    model.scores.bias.data[...] += 1.0
    after = model.predict(x)
    assert np.allclose(after, before + 1.0)
    assert np.array_equal(after, plain(model, x))


def test_an_array_in_the_place_of_another_is_seen(plain: Any) -> None:
    model, x = network(), images(2, 0)
    for _ in range(MANY):
        model.predict(x)
    model.scores.weight.data = 2.0 * model.scores.weight.data
    after = [model.predict(x) for _ in range(MANY)]
    want = plain(model, x)
    assert all(np.array_equal(y, want) for y in after)


def test_kernels_that_are_off_are_not_used() -> None:
    model, x = network(), images(2, 0)
    with kernels.disable():
        want = network().predict(x)
    for _ in range(MANY):
        by_kernels = model.predict(x)
    assert not np.array_equal(by_kernels, want)
    with kernels.disable():
        assert np.array_equal(model.predict(x), want)


def test_two_threads_at_a_time_do_not_share_what_is_noted(plain: Any) -> None:
    model, xs = network(), [images(2, seed) for seed in range(4)]
    wanted = [plain(model, x) for x in xs]
    for _ in range(MANY):
        model.predict(xs[0])
    wrong: list[int] = []

    def predict(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(model.predict(xs[i]), wanted[i]):
                wrong.append(i)

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_shape_that_does_not_fit_is_an_error_each_time() -> None:
    model = network()
    for _ in range(MANY):
        with pytest.raises(ShapeError, match="conv"):
            model.predict(np.ones((2, 9, 8, 4), np.float32))


def test_a_watch_sees_the_layers_of_a_noted_model() -> None:
    model, x = network(), images(2, 0)
    for _ in range(MANY):
        model.predict(x)
    with nn.watch() as seen:
        model.predict(x)
    assert "block.body.conv" in seen


class Counting(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return 2.0 * x


def test_a_module_of_ones_own_is_called_each_time() -> None:
    model = nn.Sequential(Counting())
    for _ in range(MANY):
        model.predict(images(2, 0))
    assert Counting.calls == MANY


def test_large_batches_are_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    monkeypatch.setattr(predicting, "_NOTED", 2 * model.cost((9, 8, 3)).macs + 1)
    for seed in range(MANY):
        model.predict(images(2, seed))
        model.predict(images(3, seed))
    assert [key[0][0] for key in vars(model)["_prediction"].noted] == [2]


def test_what_computes_otherwise_when_it_is_done_again_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    real, calls = predicting.Plan.run, []

    def run(self: Any, x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return real(self, x) + np.float32(len(calls))  # which no launch computes

    monkeypatch.setattr(predicting.Plan, "run", run)
    scores = [model.predict(images(2, 0)) for _ in range(MANY)]
    assert ways(model) == ["compute"]
    assert np.allclose(np.diff([y.max() for y in scores]), 1.0)
