"""A process that has trained forks: the child trains and predicts, whatever the parent's threads do at that moment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import os, signal, sys, threading, time
import numba
import numpy as np
from xpnet import backend, data, kernels, nn
from xpnet.backend import blas
from xpnet.data.prefetch import work_ahead
from xpnet.train import Trainer

x = np.random.default_rng(0).random((64, 6), np.float32)
y = np.arange(64) % 3


def work(threads):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with backend.use_cores(2):
        Trainer(model, threads=threads).fit((x, y), epochs=1, batch_size=16)
        assert backend.run_parallel([lambda: 1, lambda: 2]) == [1, 2]
        assert np.isfinite(model.predict(x)).all()
        with kernels.disable("numba"):
            model.predict(x)


def child(threads, ahead):
    assert [library.get() for library in blas._libraries()] == unlimited
    together = threading.Barrier(2, timeout=30)
    with backend.use_cores(2):
        backend.run_parallel([together.wait, together.wait])
    assert numba.njit(lambda x: x + 1)(3) == 4
    assert list(ahead) == [1, 2, 3]
    work(threads)


def fork(threads=1):
    together = threading.Barrier(2, timeout=30)  # passed by two threads at once alone
    ahead = work_ahead(lambda step: step, range(4))
    next(ahead)
    if moment != "while BLAS is held":
        with backend.use_cores(2):
            backend.run_parallel([together.wait, together.wait])  # leaves an idle thread
    process = os.fork()
    if not process:
        code = 1
        try:
            signal.alarm(60)
            child(threads, ahead)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(process, 0)[1] == 0, "the child failed or hung"
    ahead.close()


moment = sys.argv[1]
unlimited = [library.get() for library in blas._libraries()]
if moment == "while compiling":
    from xpnet.kernels.numba import compiling
    work(1)
    compiling._preparing.join()
    slow = [numba.njit(eval(f"lambda x: np.sort(np.zeros(x)).sum() + {i}")) for i in range(12)]
    compiling._loops[:] = [(loop, "i") for loop in slow]
    compiling._preparing = None
    kernels.prepare(x)
    time.sleep(0.1)
elif moment == "at rest":
    work(1)
elif moment == "after a sharded fit":
    work(2)
elif moment == "while BLAS is held":
    inside, leave = threading.Event(), threading.Event()
    def hold():
        inside.set()
        leave.wait()
    holder = threading.Thread(target=lambda: backend.run_parallel([hold, lambda: None]), daemon=True)
    holder.start()
    inside.wait()
    inside.clear()
    def hold_lock():
        with blas._lock:
            hold()
    threading.Thread(target=hold_lock, daemon=True).start()
    inside.wait()
elif moment == "by multiprocessing":
    import multiprocessing
    work(1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map_async(work, [1, 1, 1]).get(120)
for _ in range(0 if moment == "by multiprocessing" else 3):
    fork(2 if moment == "after a sharded fit" else 1)
if moment == "while BLAS is held":
    leave.set()
"""


@pytest.mark.parametrize(
    "moment", ["while compiling", "at rest", "by multiprocessing", "after a sharded fit", "while BLAS is held"]
)
def test_a_forked_child_trains_and_predicts(moment):
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    program = [sys.executable, "-c", PROGRAM, moment]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
