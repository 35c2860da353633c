"""The clock of a recorded step: counters, rates and losses that move on by work of the device alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import problem
from xpnet import kernels
from xpnet.backend import get_backend
from xpnet.train.clock import Clock

BACKENDS = ["numpy", "emulator", "torch"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if problem(request.param):
        pytest.skip(problem(request.param))
    return get_backend(request.param)


def shown(clock: Clock) -> tuple[int, int, float]:
    read = clock.backend.to_numpy
    return int(read(clock.epoch)), int(read(clock.step)), float(read(clock.rate)[0])


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "standard calls"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tick_notes_the_loss_and_lays_out_the_next_step(backend, dtype, kernel):
    clock = Clock(backend, 4, getattr(backend.xp, dtype))
    clock.begin(7, 1, [[0.5], [0.25], [0.125]], 5)
    seen = []
    with kernels.disable() if not kernel else pytest.MonkeyPatch.context():
        for loss in (1.5, 2.5, 3.5):
            seen.append(shown(clock))
            clock.tick(backend.from_numpy(np.asarray(loss, dtype)))
    assert seen == [(7, 1, 0.5), (7, 2, 0.25), (7, 3, 0.125)]
    assert backend.to_numpy(clock.losses).tolist() == [0.0, 1.5, 2.5, 3.5]
    assert int(backend.to_numpy(clock.t)) == 8


def test_the_clock_stays_where_it_is_in_memory(backend):
    clock = Clock(backend, 3, backend.xp.float32)
    before = vars(clock).copy()
    clock.begin(1, 0, [[0.1], [0.2], [0.3]], 1)
    clock.tick(backend.from_numpy(np.asarray(1.0, np.float32)))
    clock.schedule(1, [[0.4], [0.5]], 2)
    assert all(vars(clock)[name] is array for name, array in before.items())
    assert shown(clock) == (1, 1, pytest.approx(0.4))


def test_a_rate_is_rounded_as_one_that_the_host_passes(backend):
    clock = Clock(backend, 1, backend.xp.float32)
    clock.begin(0, 0, [[0.1]], 1)
    assert backend.to_numpy(clock.rate) == np.float32(0.1) == backend.to_numpy(clock.rates)[0, 0]
