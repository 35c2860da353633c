"""Evaluation and prediction of every task in processes of MPI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import sys
from tests.train.test_scored_batches import CASES, assert_same, of_process
from xpnet.data.lazy import Lazy
from xpnet.distributed.mpi import mpi
from xpnet.errors import DataError

communicator = mpi()
for make in CASES.values():
    trainer, held, x = make()
    mine = of_process(trainer, communicator)
    assert_same(mine.evaluate(held, batch_size=40), trainer.evaluate(held, batch_size=40))
    assert_same(mine.predict(x, batch_size=40), trainer.predict(x, batch_size=40))

def read(rows, out):
    if communicator.rank == 1 and len(rows) < 64:
        raise DataError.event("photo 7", "the file ends early")
    out[...] = rows[:, None, None, None] % 256

trainer, _, _ = CASES["reconstruction"]()
try:
    of_process(trainer, communicator).predict(Lazy((230, 3, 4, 1), read), batch_size=40)
except DataError as error:
    sys.stdout.write(f"rank {communicator.rank}: {error}\\n")
"""


@pytest.mark.parametrize("size", [3])
def test_every_task_is_measured_as_in_one_process_and_an_error_of_one_is_raised_in_all(
    start: Callable[..., Any], size: int
) -> None:
    done = start(size, SCRIPT)
    other = "predict: process 1 of 3 failed: error photo 7: the file ends early"
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == [
        f"rank 0: {other}",
        "rank 1: photo 7: the file ends early",
        f"rank 2: {other}",
    ]
