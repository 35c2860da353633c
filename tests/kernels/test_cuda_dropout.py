"""Dropout on a device draws the bits that the host draws, wherever its step is counted."""

from __future__ import annotations

import emulator
import numpy as np
import pytest
from emulator import CaptureError

from tests.harness import put
from xpnet import kernels, nn, ops, random
from xpnet.autograd import Tensor
from xpnet.backend import get_backend
from xpnet.errors import ConfigError
from xpnet.random import Key, StepContext, keep_mask, random_bits

EMULATED = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")
BIG = (1 << 64) - 3
KEYS = {
    "zeros": Key(0, ""),
    "small": Key(7, "dropout/fc6", 3, 11),
    "large": Key(BIG, "dropout/conv1", BIG - 5, BIG - 7),
}


def kept(device, x, **options):
    y, vjp = ops.random_dropout(x, **options)
    mask = device.to_numpy(y) != 0
    dx = vjp(device.xp.ones_like(x), (True,))[0]
    assert np.array_equal(device.to_numpy(dx) != 0, mask), "the way back draws other bits"
    return mask


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("start", [0, 1, 7, 8, 12345, (1 << 40) + 3], ids=str)
def test_a_device_keeps_what_the_host_keeps(device, key, dtype, start):
    for n in (1, 7, 8, 9, 5000):
        x = put(device, np.ones(n), dtype)
        assert np.array_equal(kept(device, x, key=key, rate=0.4, start=start), keep_mask(key, (n,), 0.4, start))


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.25, 0.999, 1 - 2.0**-40])
def test_every_rate_keeps_the_same_elements(device, rate):
    key = KEYS["small"]
    x = put(device, np.ones((3, 700)), "float32")
    assert np.array_equal(kept(device, x, key=key, rate=rate), keep_mask(key, (3, 700), rate))


def test_a_draw_that_is_the_rate_itself_is_kept(device):
    key = KEYS["small"]
    for i in range(8):  # in each of the places of a thread
        half = int(random_bits(key, 4).view(np.uint32)[i])
        assert kept(device, put(device, np.ones(8), "float32"), key=key, rate=half / 2**32)[i]
        assert not kept(device, put(device, np.ones(8), "float32"), key=key, rate=(half + 1) / 2**32)[i]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_numbers_are_those_of_the_ops_own_code(device, dtype):
    x = put(device, np.random.default_rng(3).normal(size=(9, 77)), dtype)
    options = {"key": KEYS["small"], "rate": 0.3, "start": 5}
    found = device.to_numpy(ops.random_dropout(x, **options)[0])
    with kernels.disable():
        want = device.to_numpy(ops.random_dropout(x, **options)[0])
    eps = {"float32": 0, "float64": 0, "float16": 2 * 2.0**-11}[dtype]  # there 1 / (1 - rate) is rounded to 11 bits
    np.testing.assert_allclose(found.astype(float), want.astype(float), rtol=eps, atol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_dropped_is_zero_whatever_it_was(device, value):
    y = device.to_numpy(ops.random_dropout(put(device, np.full(64, value), "float32"), key=KEYS["small"], rate=0.5)[0])
    mask = keep_mask(KEYS["small"], (64,), 0.5)
    assert np.all(y[~mask] == 0)
    np.testing.assert_array_equal(y[mask], np.float32(value))


def test_arrays_that_do_not_begin_at_16_bytes_are_served(device):
    key, whole = KEYS["small"], put(device, np.ones(100), "float32")
    for first in (1, 2, 3, 4):
        assert np.array_equal(kept(device, whole[first:], key=key, rate=0.5), keep_mask(key, (100 - first,), 0.5))


def on_device(device, value):
    return device.from_numpy(np.array(value, np.int64))


def test_step_and_epoch_may_lie_on_the_device(device):
    x = put(device, np.ones(999), "float32")
    for step, epoch in ((0, 0), (4, 2), (1 << 40, 5)):
        key = Key(9, "dropout/a", epoch, step)
        there = key._replace(epoch=on_device(device, epoch), step=on_device(device, step))
        want = keep_mask(key, (999,), 0.5)
        assert np.array_equal(kept(device, x, key=there, rate=0.5), want)
        assert np.array_equal(kept(device, x, key=there._replace(epoch=epoch), rate=0.5), want)
        assert np.array_equal(keep_mask(there, (999,), 0.5), want), "the host waits for the device, and draws the same"


def test_each_replay_of_a_captured_layer_draws_the_mask_of_its_step(device):
    layer, x = nn.Dropout(0.5).train(), put(device, np.ones((40, 25)), "float32")
    step, epoch = on_device(device, 3), on_device(device, 1)
    recorder = device.recorder()
    assert recorder is not None

    def work():
        with random.use(StepContext(5, epoch, step)):  # type: ignore[arg-type]
            y = layer(Tensor(x)).data
        step[...] = step + 1
        return y

    with recorder.warm():
        work()
        step[...] = 3
    y, replay = recorder.record(work)
    for n in (3, 4, 5):
        replay()
        assert np.array_equal(device.to_numpy(y) != 0, keep_mask(Key(5, "dropout/", 1, n), (40, 25), 0.5))


@EMULATED
def test_to_draw_on_the_host_by_a_step_on_the_device_is_an_error_while_it_is_captured():
    device = get_backend("emulator")
    step, x = on_device(device, 3), put(device, np.ones(8), "float32")
    recorder = device.recorder()
    assert recorder is not None
    with kernels.disable(), pytest.raises(CaptureError):
        recorder.record(lambda: ops.random_dropout(x, key=Key(0, "a", 0, step), rate=0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", [{"step": -1}, {"epoch": 1 << 64}, {"seed": -5}], ids=str)
def test_a_key_outside_64_bits_is_refused_as_on_the_host(device, changed):
    (name, value), key = *changed.items(), Key(0, "a")._replace(**changed)
    with pytest.raises(ConfigError, match=f"^random: expected {name} .*2\\*\\*64 - 1, got {name} {value}"):
        ops.random_dropout(put(device, np.ones(8), "float32"), key=key, rate=0.5)
