"""One training on every backend: equal draws bit for bit, equal losses within a bound, checkpoints that open anywhere.

The bound. A loss is a sum of roundings: a step adds, relative to the loss, about the root of its longest sum (the
roundings of float32 are as good as random) times eps, and 20 steps add up to 20 of them. Measured, as a share of the
bound, were at most 0.03 on torch, jax and array-api-strict against NumPy; a learning rate off by a thousandth is beyond
five times the bound.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from tests.train.fitting import Recorded, assert_same_state, digits, some_digits, trainer
from xpnet import data, models, nn
from xpnet.backend import get_backend, use_backend
from xpnet.data import Augment, Normalize
from xpnet.nn import Module
from xpnet.train import Trainer, read_checkpoint, write_checkpoint

STEPS = 20
LONGEST_SUM = {"mlp": 128, "cnn": 1024}  # of a scores neuron, of a gradient of conv1: batch 16, 8x8
BATCH = {"mlp": 32, "cnn": 16}
RATE = {"mlp": 0.05, "cnn": 0.01}


def bound(name: str) -> float:
    return STEPS * math.sqrt(LONGEST_SUM[name]) * float(np.finfo(np.float32).eps)


def losses(name: str, backend, lr: float | None = None) -> np.ndarray:
    """The loss of each of 20 steps: two epochs of ten, so that the second is shuffled anew."""
    recorded = Recorded()
    fit = trainer(name, backend, lr=lr or RATE[name], loss=recorded)
    fit.fit(some_digits(BATCH[name] * STEPS // 2), epochs=2, batch_size=BATCH[name])
    return recorded.numbers()


@cache
def losses_of_numpy(name: str) -> np.ndarray:
    return losses(name, get_backend("numpy"))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_losses_of_twenty_steps_are_those_of_numpy_within_the_bound(backend, name):
    if (backend.name, name) == ("jax", "cnn"):
        pytest.skip("a minute of compiling what the tests of ops and of the mlp have run on jax")
    np.testing.assert_allclose(losses(name, backend), losses_of_numpy(name), rtol=bound(name))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_losses_of_twenty_steps_fall(name):
    found = losses_of_numpy(name)
    assert found.size == STEPS
    assert found[-5:].mean() < 0.75 * found[:5].mean()


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_bound_is_tight_enough_to_see_a_rate_off_by_a_thousandth(name):
    wrong = losses(name, get_backend("numpy"), lr=1.001 * RATE[name])
    assert np.max(np.abs(wrong / losses_of_numpy(name) - 1)) > 5 * bound(name)


def test_a_second_run_gives_the_same_bits(backend):
    assert np.array_equal(losses("mlp", backend), losses("mlp", backend))


@pytest.mark.parametrize("name", ["mlp", "lenet5", "cnn"])
def test_the_first_weights_are_the_same_bits_on_every_backend(backend, name):
    shape = (8, 8, 1)
    got = models.build(name, shape, 10).to(backend).initialize(3).state_dict()
    want = models.build(name, shape, 10).to("numpy").initialize(3).state_dict()
    assert got.keys() == want.keys()
    for path in want:
        assert got[path].tobytes() == want[path].tobytes(), path


class Spy(Module):
    """Passes on what it is given, and keeps a copy on the host."""

    def __init__(self) -> None:
        self.seen = []

    def forward(self, x):
        self.seen.append(x.numpy())
        return x


@cache
def numbered() -> data.Dataset:
    """80 examples whose values are all their number plus one: what arrives says which ones, and dropped ones are 0."""
    x = np.repeat(np.arange(1.0, 81.0, dtype=np.float32)[:, None], 12, axis=1)
    return data.from_arrays(x, np.arange(80) % 4)


def seen_through_dropout(backend) -> tuple[np.ndarray, np.ndarray]:
    """What three epochs of five batches are before and after dropout."""
    before, after = Spy(), Spy()
    with use_backend(backend):
        net = nn.Sequential(before=before, drop=nn.Dropout(0.25), after=after, scores=nn.Linear(12, 4))
    same = Normalize((0.0,), (1.0,), 1.0)
    Trainer(net, seed=9, normalize=same).fit(numbered(), epochs=3, batch_size=16)
    return np.stack(before.seen), np.stack(after.seen)


def test_batches_come_in_the_same_order_on_every_backend(backend):
    got, _ = seen_through_dropout(backend)
    want, _ = seen_through_dropout(get_backend("numpy"))
    assert np.array_equal(got, want)
    for epoch in got.reshape(3, 80, 12)[..., 0]:
        assert sorted(epoch) == list(range(1, 81))
        assert not np.array_equal(epoch, np.arange(1, 81))


def test_dropout_drops_the_same_numbers_on_every_backend(backend):
    _, got = seen_through_dropout(backend)
    _, want = seen_through_dropout(get_backend("numpy"))
    assert np.array_equal(got == 0, want == 0)
    assert 0.2 < np.mean(got == 0) < 0.3
    assert not np.array_equal(got[0] == 0, got[1] == 0)


def test_augmentation_moves_images_alike_on_every_backend(backend):
    def batches(where) -> np.ndarray:
        spy = Spy()
        with use_backend(where):
            net = nn.Sequential(spy=spy, flatten=nn.Flatten(), scores=nn.Linear(64, 10))
        Trainer(net, seed=9).fit(some_digits(64), epochs=2, batch_size=32, augment=Augment(shift=1, flip=True))
        return np.stack(spy.seen)

    got, want = batches(backend), batches(get_backend("numpy"))
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-7 * np.abs(want).max())  # normalized on the device


def test_a_model_that_is_moved_goes_on_as_on_numpy(backend):
    recorded = Recorded()
    fit = trainer("mlp", "numpy", lr=RATE["mlp"], loss=recorded)
    fit.fit(some_digits(320), epochs=1, batch_size=32)
    fit.model.to(backend)
    history = fit.fit(some_digits(320), epochs=2, batch_size=32)
    assert [r["epoch"] for r in history] == [1, 2]
    assert fit.model.backend == backend
    np.testing.assert_allclose(recorded.numbers(), losses_of_numpy("mlp"), rtol=bound("mlp"))


def test_a_checkpoint_of_numpy_opens_on_every_backend_bit_for_bit_and_goes_on(backend, tmp_path):
    file, lr = tmp_path / "half.safetensors", RATE["mlp"]
    first = trainer("mlp", "numpy", lr=lr)
    first.fit(some_digits(320), epochs=1, batch_size=32)
    write_checkpoint(file, first.checkpoint())

    recorded = Recorded()
    second = trainer("mlp", backend, lr=lr, loss=recorded)
    second.resume(read_checkpoint(file))
    assert_same_state(second.checkpoint(), first.checkpoint())
    second.fit(some_digits(320), epochs=2, batch_size=32)
    np.testing.assert_allclose(recorded.numbers(), losses_of_numpy("mlp")[10:], rtol=bound("mlp"))


def test_a_run_goes_from_numpy_to_torch_to_jax_and_back_through_files(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    file, recorded = tmp_path / "run.safetensors", Recorded()
    for i, spec in enumerate(["numpy", "torch", "jax:cpu", "numpy"]):
        fit = trainer("mlp", spec, lr=RATE["mlp"], loss=recorded)
        if i:
            fit.resume(read_checkpoint(file))
        fit.fit(some_digits(160), epochs=i + 1, batch_size=32)
        write_checkpoint(file, fit.checkpoint())
    straight = Recorded()
    trainer("mlp", "numpy", lr=RATE["mlp"], loss=straight).fit(some_digits(160), epochs=4, batch_size=32)
    assert straight.numbers().size == STEPS
    np.testing.assert_allclose(recorded.numbers(), straight.numbers(), rtol=bound("mlp"))


def test_scores_after_training_agree_with_numpy(backend):
    _, test = digits()
    few = test.take(np.arange(32))
    fits = [trainer("mlp", where, lr=RATE["mlp"]) for where in (backend, get_backend("numpy"))]
    for fit in fits:
        fit.fit(some_digits(320), epochs=1, batch_size=32)
    got, want = (fit.evaluate(few) for fit in fits)
    np.testing.assert_allclose(got["scores"], want["scores"], rtol=0, atol=bound("mlp") * np.abs(want["scores"]).max())
    assert got["accuracy"] == want["accuracy"]
    assert got["loss"] == pytest.approx(want["loss"], rel=bound("mlp"))
