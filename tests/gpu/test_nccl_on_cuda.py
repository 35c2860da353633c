"""NCCL itself, with one process: its calls, and their capture in a CUDA graph."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.backend import Backend
from xpnet.distributed import single
from xpnet.distributed.nccl import NCCL, connect
from xpnet.errors import DeviceError


@pytest.fixture
def communicator(cuda: Backend) -> NCCL:
    try:
        cuda.collectives()
    except DeviceError as error:
        pytest.skip(str(error))
    return connect(single(), cuda)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_sum_of_one_process_is_its_own_numbers(communicator: NCCL, cuda: Backend, dtype: str) -> None:
    x = cuda.from_numpy(np.arange(1000).astype(dtype))
    assert communicator.allreduce(x) is x
    assert communicator.broadcast(x) is x
    communicator.exchange([[]], [[]])
    communicator.allgather_segments(x, [1000])
    assert cuda.to_numpy(x).tolist() == np.arange(1000).astype(dtype).tolist()


def test_a_sum_is_captured_and_replayed(communicator: NCCL, cuda: Backend) -> None:
    recorder = cuda.recorder()
    assert recorder is not None
    x = cuda.from_numpy(np.zeros(1000, np.float32))

    def work() -> object:
        return communicator.allreduce(x.__iadd__(1))

    with recorder.warm():
        for _ in range(recorder.warm_calls):
            work()
    _, replay = recorder.record(work)
    for _ in range(2):
        replay()
    assert (cuda.to_numpy(x) == recorder.warm_calls + 2).all()
