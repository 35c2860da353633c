"""NCCL itself: its calls by one process, and their capture in a CUDA graph; steps of two, where there are two GPUs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.distributed.conftest import Start, start  # noqa: F401
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


STEPS = """
import numpy as np
from xpnet import nn
from xpnet.distributed import get_communicator, mpi
from xpnet.optim import Adam
from xpnet.train import Trainer

where = f"cuda:{mpi().rank}"
draw = np.random.default_rng(0)
data = draw.normal(size=(53, 6)).astype(np.float32), draw.integers(0, 3, 53)  # batches of 16, and one of 5
for shards in (1, 2, 8):
    found = []
    for capture in (False, True):
        model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3))
        optimizer = Adam(model.to(where).initialize(2).parameters(), 0.01)
        how = {"communicator": get_communicator("nccl", model.backend), "shards": shards}
        how["capture"] = capture and (None if shards == 8 else True)  # layers of shards that wait are not recorded
        trainer = Trainer(model, optimizer, seed=5, **how)
        trainer.fit(data, epochs=5, batch_size=16, progress=False)
        found.append(np.concatenate([value.ravel() for value in model.state_dict().values()]))
    assert np.allclose(*found, rtol=1e-5, atol=1e-6), shards
    assert shards == 1 or found[0].tobytes() == found[1].tobytes(), shards
print("done")
"""


def test_captured_steps_of_two_gpus_are_the_eager_ones(cuda: Backend, start: Start) -> None:  # noqa: F811
    if len(cuda.devices()) < 2:
        pytest.skip("there is one GPU")
    found = start(2, STEPS)
    assert (found.code, found.out.count("done")) == (0, 2), found.err[-3000:]
