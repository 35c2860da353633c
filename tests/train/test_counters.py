"""Device counters: step, rates and losses that work of the device alone advances."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import problem
from xpnet import kernels
from xpnet.backend import get_backend
from xpnet.train.counters import DeviceCounters

BACKENDS = ["numpy", "emulator", "torch"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if problem(request.param):
        pytest.skip(problem(request.param))
    return get_backend(request.param)


def shown(counters: DeviceCounters) -> tuple[int, int, float]:
    read = counters.backend.to_numpy
    return int(read(counters.epoch)), int(read(counters.step)), float(read(counters.rate)[0])


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "standard calls"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_advancing_stores_the_loss_and_sets_the_next_steps_rate(backend, dtype, kernel):
    counters = DeviceCounters(backend, 4, getattr(backend.xp, dtype))
    counters.begin(7, 1, [[0.5], [0.25], [0.125]], 5)
    seen = []
    with kernels.disable() if not kernel else pytest.MonkeyPatch.context():
        for loss in (1.5, 2.5, 3.5):
            seen.append(shown(counters))
            counters.advance(backend.from_numpy(np.asarray(loss, dtype)))
    assert seen == [(7, 1, 0.5), (7, 2, 0.25), (7, 3, 0.125)]
    assert backend.to_numpy(counters.losses).tolist() == [0.0, 1.5, 2.5, 3.5]
    assert int(backend.to_numpy(counters.t)) == 8


def test_the_counters_stay_where_they_are_in_memory(backend):
    counters = DeviceCounters(backend, 3, backend.xp.float32)
    before = vars(counters).copy()
    counters.begin(1, 0, [[0.1], [0.2], [0.3]], 1)
    counters.advance(backend.from_numpy(np.asarray(1.0, np.float32)))
    counters.schedule(1, [[0.4], [0.5]], 2)
    assert all(vars(counters)[name] is array for name, array in before.items())
    assert shown(counters) == (1, 1, pytest.approx(0.4))


def test_a_rate_is_rounded_as_one_that_the_host_passes(backend):
    counters = DeviceCounters(backend, 1, backend.xp.float32)
    counters.begin(0, 0, [[0.1]], 1)
    assert backend.to_numpy(counters.rate) == np.float32(0.1) == backend.to_numpy(counters.rates)[0, 0]
