"""Trainings on several processes: the same bits as on one, and one end for all."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from tests.distributed.bits import KINDS, digest, train
from tests.distributed.conftest import Start
from xpnet import kernels
from xpnet.backend import use_cores

SCRIPT = """
    import contextlib, json, sys
    from tests.distributed.bits import KINDS, digest, train
    from xpnet import kernels
    from xpnet.distributed import get_communicator

    communicator, found = get_communicator(), {}
    threads = int(sys.argv[1])
    for name in sys.argv[2:]:
        found[name] = digest(train(**KINDS[name], threads=threads))
    if threads > 1:
        with kernels.disable("numba"):
            found["plain numpy"] = digest(train(**KINDS["cnn"]))
    each = [json.loads(data) for data in communicator.allgather_bytes(json.dumps(found).encode())]
    assert all(one == each[0] for one in each)
    if communicator.rank == 0:
        print(json.dumps(found))
"""


@cache
def alone(name: str, threads: int, numba: bool = True) -> str:
    with use_cores(threads), kernels.disable("numba") if not numba else use_cores(threads):
        return digest(train(**KINDS[name], shards=8, threads=threads))


@pytest.mark.parametrize("name", KINDS)
def test_one_process_gives_the_same_bits_with_one_thread_and_with_two(name: str) -> None:
    assert alone(name, 2) == alone(name, 1)


@pytest.mark.parametrize(
    ("processes", "threads", "names"),
    [(4, 1, [*KINDS]), (3, 2, ["cnn", "resnet20", "resnet20 local"])],
    ids=["4 processes", "3 processes of 2 threads"],
)
def test_any_number_of_processes_gives_the_bits_of_one(
    start: Start, processes: int, threads: int, names: list[str]
) -> None:
    """Two processes are below, and in test_loops. Of 3 processes two have 3 shards, which are two nodes of the tree."""
    done = start(processes, SCRIPT, str(threads), *names, seconds=400)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    for name in names:
        assert found.pop(name) == alone(name, 1), name
    assert found == ({"plain numpy": alone("cnn", 1, numba=False)} if threads > 1 else {})


def test_an_interrupted_run_is_resumed_on_another_number_of_processes_bit_for_bit(start: Start, tmp_path: Any) -> None:
    """One process of three gets the signal: all stop after the same step. Two, then one, go on."""
    script = """
        import signal, sys
        from tests.distributed.bits import KINDS, digest, train
        from xpnet.distributed import get_communicator
        from xpnet.train import Callback, SaveCheckpoint

        communicator = get_communicator()
        folder, at, resume = sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:])

        class Stop(Callback):
            def on_step(self, trainer):
                if communicator.rank == communicator.size - 1 and 4 * trainer.epoch + trainer.step == at:
                    signal.raise_signal(signal.SIGINT)

        trainer = train(**KINDS["lenet5"], callbacks=[Stop(), SaveCheckpoint(folder)], resume=resume)
        told = {data for data in communicator.allgather_bytes(f"{trainer.epoch} {trainer.step}".encode())}
        if communicator.rank == 0:
            print(trainer.interrupted, *(text.decode() for text in told))
    """
    saved = str(tmp_path / "checkpoint.safetensors")
    first = start(3, script, str(tmp_path), "2")
    assert first.out.strip() == "2 0 3", (first.out, first.err)
    second = start(2, script, str(tmp_path), "5", saved)
    assert second.out.strip() == "2 1 2", (second.out, second.err)
    assert digest(train(**KINDS["lenet5"], resume=saved)) == alone("lenet5", 1)  # the checkpoint tells the shards
