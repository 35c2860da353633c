"""Signals while training: the step ends, the run is saved, its number is kept."""

from __future__ import annotations

import signal

import pytest

from tests.train.fitting import some_digits, trainer
from xpnet.train import Callback, SaveCheckpoint, read_checkpoint

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def usual_handlers():
    """The handlers that a program starts with, also where nohup or a shell has signals ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_the_epoch_under_way(tmp_path, number):
    class Send(Callback):
        def on_step(self, trainer):
            if (trainer.epoch, trainer.step) == (1, 1):
                signal.raise_signal(number)

    before = signal.getsignal(number)
    fit = trainer("softmax", callbacks=[SaveCheckpoint(tmp_path), Send()])
    fit.fit(some_digits(96), epochs=3, batch_size=32)
    assert fit.interrupted == number
    assert signal.getsignal(number) == before
    progress = read_checkpoint(tmp_path / "checkpoint.safetensors").meta["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 1)
