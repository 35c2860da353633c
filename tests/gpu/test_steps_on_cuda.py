"""Training on a real device: captured as eager, no wait for the host, in three precisions, in the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.train.fitting import assert_same_state, digits, noisy_net, some_digits, trainer
from xpnet import models, nn
from xpnet.backend import Backend
from xpnet.data import Augment, Dataset
from xpnet.optim import SGD, one_cycle
from xpnet.train import Callback, Trainer

BATCH = 32


class ResidualNet(nn.Sequential):
    """A residual block with batch norm between convolutions, as in ResNet."""

    def __init__(self) -> None:
        body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.LocalResponseNorm(),
            nn.Residual(body),
            nn.ReLU(),
            nn.GlobalAvgPool2d(),
            nn.Linear(8, 10),
        )


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
@pytest.mark.parametrize("augment", [None, Augment(shift=1), Augment(rotate=5.0)], ids=["plain", "moved", "rotated"])
@pytest.mark.parametrize("model", ["mlp", "lenet5", "noisy", "residual"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adam"])
def test_a_captured_run_is_an_eager_run_bit_for_bit(
    device: Backend, model: str, optimizer: str, augment: Augment | None, precision: str
) -> None:
    if precision not in device.precisions:
        pytest.skip(f"this device computes in {' and '.join(device.precisions)}")
    kept = []
    for capture in (True, False):
        net: Any = {"noisy": noisy_net, "residual": ResidualNet}.get(model, lambda: model)()
        rate = one_cycle(0.02 if optimizer == "nesterov" else 2e-3, 3 * 10)
        run = trainer(net, device, optimizer, rate, capture=capture, precision=precision)
        run.fit(some_digits(300), epochs=3, batch_size=BATCH, augment=augment)  # 9 batches, and a smaller one
        kept.append(run.checkpoint())
    assert_same_state(*kept)
    assert all(np.isfinite(record["train_loss"]) for record in kept[0].meta["history"])


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_learns_about_as_fp32_does(device: Backend, precision: str) -> None:
    if precision not in device.precisions:
        pytest.skip(f"this device computes in {' and '.join(device.precisions)}")
    accuracy = {}
    for name in ("fp32", precision):
        rate = one_cycle(0.05, 6 * 45)  # ends low: at a high rate runs that round otherwise end some images apart
        run = trainer("cnn", device, "momentum", rate, precision=name)
        run.fit(digits()[0], epochs=6, batch_size=BATCH)
        accuracy[name] = run.evaluate(digits()[1])["accuracy"]
    assert accuracy["fp32"] > 0.95
    assert abs(accuracy[precision] - accuracy["fp32"]) < 0.02


# No waiting

QUEUED = 32  # steps of an epoch: so few that all of them fit the device's queue

SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
  for (long long began = clock64(); clock64() - began < cycles;) {}
}
"""


class Spin(Callback):
    """Keeps the device busy from a step of the last epoch on, and counts the later steps at which the host had waited.

    The host queues all of them in the time that the device spins. A step that waits for the device, in whatever
    way, comes after the spinning.
    """

    def __init__(self, begin: int, cycles: int) -> None:
        import cupy

        self._cuda = cupy.cuda
        self._kernel = cupy.RawKernel(SPIN, "spin")
        self.begin, self.cycles = begin, cycles
        self._done: Any = None
        self.waited = self.looked = 0

    def on_step(self, run: Trainer) -> None:
        if run.epoch + 1 < run.epochs:
            return
        if run.step == self.begin:
            self._kernel((1,), (1,), (np.int64(self.cycles),))
            self._done = self._cuda.Event(disable_timing=True)
            self._done.record()
        elif self._done is not None and run.step < run.steps:
            self.looked += 1
            self.waited += bool(self._done.done)


def many(n: int) -> Dataset:
    """n images made of the digits', over and over."""
    every = digits()[0]
    return every.take(np.arange(n) % len(every))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", ["mlp", "noisy"])
def test_no_step_of_a_captured_epoch_waits_for_the_device(cuda: Backend, model: str, precision: str) -> None:
    spin = Spin(begin=8, cycles=6_000_000_000)  # about 3 s, at 2 GHz
    rate = one_cycle(0.02, 2 * 32)
    run = trainer(noisy_net() if model == "noisy" else model, cuda, "momentum", rate, [spin], precision=precision)
    run.fit(many(QUEUED * BATCH), epochs=2, batch_size=BATCH)
    assert spin.looked == QUEUED - 9
    assert spin.waited == 0


def test_the_spinning_shows_a_step_that_waits(cuda: Backend) -> None:
    class Waits(Callback):
        def on_step(self, run: Trainer) -> None:
            if run.step == 20:
                cuda.synchronize()

    spin = Spin(begin=8, cycles=1_000_000_000)
    trainer("mlp", cuda, callbacks=[Waits(), spin]).fit(many(QUEUED * BATCH), epochs=2, batch_size=BATCH)
    assert (spin.looked, spin.waited) == (QUEUED - 9, QUEUED - 20)


# Memory


class Held(Callback):
    """Records the device memory in use at two steps of the run."""

    def __init__(self, first: int) -> None:
        self.first, self.done, self.used = first, 0, []

    def on_step(self, run: Trainer) -> None:
        self.done += 1
        if self.done >= self.first and self.done % self.first == 0:
            self.used.append(run.model.backend.memory())


@pytest.mark.parametrize("capture", [None, False], ids=["captured", "eager"])
@pytest.mark.parametrize("augment", [None, Augment(rotate=5.0)], ids=["resident", "staged"])
def test_memory_is_flat_over_a_thousand_steps(cuda: Backend, capture: bool | None, augment: Augment | None) -> None:
    held = Held(first=100)
    run = trainer(noisy_net(), cuda, "adam", 1e-3, [held], capture=capture)
    run.fit(digits()[0], epochs=25, batch_size=BATCH, augment=augment)  # 45 steps each
    assert held.done == 25 * 45
    settled = [memory.used for memory in held.used[1:]]
    assert max(settled) - min(settled) <= 2 << 20  # a batch ahead or behind, in blocks of the pool
    assert held.used[-1].peak == held.used[1].peak


def test_a_large_step_is_captured_fits_and_is_the_eager_one(cuda: Backend) -> None:
    rng = np.random.default_rng(0)
    images = Dataset(
        rng.integers(0, 256, (24, 227, 227, 3), dtype=np.uint8), np.arange(24) % 5, tuple("abcde"), "noise"
    )
    for name in ("alexnet", "resnet18"):
        losses = []
        for capture in (True, False):
            model = models.build(name, images.shape, 5).initialize(0)
            run = Trainer(model, SGD(model.parameters(), 1e-3, momentum=0.9), capture=capture)
            losses.append([record["train_loss"] for record in run.fit(images, epochs=4, batch_size=8)])
        assert losses[0] == losses[1]
        assert np.isfinite(losses).all()
    used = cuda.memory()
    assert 0 < used.used <= used.peak <= used.total
