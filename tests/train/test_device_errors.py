"""Out of memory: which batch size failed, which to try, and what goes on with less."""

from __future__ import annotations

import gc
import logging
import weakref

import numpy as np
import pytest

from tests.conftest import problem
from tests.harness import raises
from tests.train.fitting import some_digits, trainer
from xpnet import models, nn
from xpnet.backend import Memory, get_backend, is_out_of_memory
from xpnet.data import feed
from xpnet.errors import DeviceError
from xpnet.train import RunConfig, Trainer, train_run
from xpnet.train.device_errors import largest_batch

MIB = 2**20


def with_memory(monkeypatch, used: int, total: int) -> None:
    monkeypatch.setattr(type(get_backend("numpy")), "memory", lambda self: Memory(used, used, total))


class Full(RuntimeError):
    """As CuPy's and torch's OutOfMemoryError, by name."""


Full.__name__ = "OutOfMemoryError"


class Limited(nn.Module):
    """Passes on at most so many examples; more are too many for the memory."""

    def __init__(self, most: int) -> None:
        self.most = most

    def forward(self, x):
        if x.shape[0] > self.most:
            raise Full("2 GB")
        return x

    def cost(self, shape):
        return nn.Cost.of(shape, shape)


def limited(most: int, **options) -> Trainer:
    net = nn.Sequential(
        flatten=nn.Flatten(), limit=Limited(most), hidden=nn.Linear(64, 1000), scores=nn.Linear(1000, 10)
    )
    return trainer(net, **options)


# By hand: of an example are kept the input of hidden (64 numbers) and of scores (1000); the gradients of hidden's input
# and output pass by at once (1064). In all 2128 numbers, 8512 bytes. Gradients of the parameters: 64*1000 + 1000 +
# 1000*10 + 10 = 75,010 numbers, twice, 600,080 bytes.
EXAMPLE, GRADIENTS = 8512, 600_080


@pytest.mark.parametrize("fits", [100, 1, 0])
def test_the_largest_batch_follows_from_what_the_layers_keep(monkeypatch, fits):
    with_memory(monkeypatch, 0, 3 * MIB + GRADIENTS + fits * EXAMPLE + EXAMPLE // 2)
    net = limited(1).model
    assert largest_batch(net, (8, 8, 1), get_backend("numpy"), 3 * MIB) == fits


def test_the_largest_batch_of_alexnet_is_of_the_order_of_what_is_known(monkeypatch):
    with_memory(monkeypatch, 0, 8 * 1024 * MIB)
    found = largest_batch(models.build("alexnet"), (227, 227, 3), get_backend("numpy"), 500 * MIB)
    assert 500 < found < 1500  # about 5 to 14 MB an image


def test_nothing_is_estimated_where_the_model_or_the_memory_is_unknown(monkeypatch):
    class Own(nn.Module):
        def forward(self, x):
            return x

    assert largest_batch(Own(), (8,), get_backend("numpy"), 0) is None
    with_memory(monkeypatch, 0, 0)
    assert largest_batch(models.build("mlp", (8, 8, 1), 10), (8, 8, 1), get_backend("numpy"), 0) is None


def test_out_of_memory_names_the_batch_size_and_the_largest_that_should_fit(monkeypatch):
    fit = limited(50)
    with_memory(monkeypatch, 10 * MIB, 10 * MIB + GRADIENTS + 61 * EXAMPLE)
    with raises(DeviceError, "fit", "batch_size 64", "batch_size=61, the estimated largest that fits"):
        fit.fit(some_digits(128), epochs=1, batch_size=64)


def test_an_estimate_that_is_not_less_than_what_failed_is_not_given(monkeypatch):
    fit = limited(50)
    with_memory(monkeypatch, 0, 10**12)
    with raises(DeviceError, "fit", "batch_size 64", "try batch_size=32"):
        fit.fit(some_digits(128), epochs=1, batch_size=64)


def test_a_model_too_large_for_one_example_is_told_so(monkeypatch):
    fit = limited(0)
    with_memory(monkeypatch, 10 * MIB, 10 * MIB + GRADIENTS)
    with raises(DeviceError, "fit", "batch_size 64", "smaller model"):
        fit.fit(some_digits(128), epochs=1, batch_size=64)


def test_the_last_smaller_batch_is_not_what_the_message_names():
    class Odd(Limited):
        def forward(self, x):
            return super().forward(x) if x.shape[0] == 64 else Limited(0).forward(x)

    net = nn.Sequential(flatten=nn.Flatten(), limit=Odd(64), scores=nn.Linear(64, 10))
    with raises(DeviceError, "fit", "batch_size 64"):
        trainer(net).fit(some_digits(100), epochs=1, batch_size=64)


@pytest.mark.parametrize("backend", ["numpy", "emulator"])
def test_the_trainer_goes_on_with_a_smaller_batch_and_the_failed_steps_arrays_are_gone(backend):
    if problem(backend):
        pytest.skip(problem(backend))
    held = []

    class Holding(Limited):
        def forward(self, x):
            big = x * 2.0
            held.append(weakref.ref(big.data))
            return super().forward(big)

    net = nn.Sequential(flatten=nn.Flatten(), limit=Holding(50), scores=nn.Linear(64, 10))
    fit = trainer(net, backend)
    try:
        fit.fit(some_digits(128), epochs=1, batch_size=64)
    except DeviceError as error:
        kept = error
        gc.collect()
        assert held[-1]() is None
    assert "batch_size 64" in str(kept)
    assert fit.optimizer.steps == 0
    assert len(fit.fit(some_digits(128), epochs=1, batch_size=32)) == 1


def test_predictions_and_evaluations_that_do_not_fit_are_made_in_smaller_batches():
    few, fit = some_digits(100), limited(30)
    want = limited(100)
    want.normalize = fit.normalize = feed.Normalize.of(few)
    assert np.allclose(fit.predict(few.x), want.predict(few.x), atol=1e-6)
    assert fit.evaluate(few)["loss"] == pytest.approx(want.evaluate(few)["loss"], rel=1e-6)
    with raises(DeviceError, "evaluate", "batch_size 1", "smaller model"):
        limited(0).evaluate(few)


def test_a_set_that_does_not_fit_after_all_is_served_from_the_host(monkeypatch, caplog):
    pytest.importorskip("torch")
    backend = get_backend("torch")
    real = type(backend).from_numpy
    few = some_digits(100)

    def from_numpy(self, array):
        if array.shape[0] == 100:
            raise Full("2 GB")
        return real(self, array)

    monkeypatch.setattr(type(backend), "from_numpy", from_numpy)
    monkeypatch.setattr(feed, "_fits", lambda *_: True)
    with caplog.at_level(logging.WARNING, "xpnet"):
        history = trainer("mlp", backend).fit(few, epochs=1, batch_size=32)
    assert len(history) == 1
    assert ["no room" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "text", ["CUBLAS_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation: out of memory", "CUDA_ERROR_OUT_OF_MEMORY"]
)
def test_what_cuda_and_its_libraries_say_of_memory_is_understood(text):
    assert is_out_of_memory(RuntimeError(text))


def test_a_run_reports_the_peak_of_memory(monkeypatch, tmp_path):
    with_memory(monkeypatch, 5 * MIB, 100 * MIB)
    figures = train_run(RunConfig("softmax", epochs=1), tmp_path / "run")
    assert figures["peak_memory_bytes"] == 5 * MIB
