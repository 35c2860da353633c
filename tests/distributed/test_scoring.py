"""Evaluation and prediction of every task in processes of MPI, and what happens where not all call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import sys
from tests.train.test_scored_batches import CASES, assert_same, of_process
from xpnet.data.lazy import Lazy
from xpnet.distributed import get_communicator
from xpnet.errors import ConfigError, DataError

communicator = get_communicator()
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

trainer, held, x = CASES["reconstruction"]()
mine = of_process(trainer, communicator)
try:
    mine.evaluate(held) if communicator.rank else mine.predict(x)
except ConfigError as error:
    sys.stdout.write(f"rank {communicator.rank}: {error}\\n")
sys.stdout.flush()
if communicator.rank == 0:
    mine.evaluate(held)
communicator.barrier()
"""


@pytest.mark.parametrize("size", [3])
def test_every_task_is_measured_as_in_one_process_and_a_call_that_is_not_made_by_all_is_an_error(
    start: Callable[..., Any], size: int
) -> None:
    done = start(size, SCRIPT)
    other = "predict: process 1 of 3 failed: error photo 7: the file ends early"
    do = "call it in each process, also where only one prints"
    assert (done.code, [line for line in done.err.splitlines() if "loops are compiled" not in line]) == (
        2,
        [
            "xpnet: rank 0: evaluate: all processes have to call it, and 2 processes did not: "
            f"rank 1 went on, or ended, rank 2 went on, or ended; {do}"
        ],
    )
    expected = [
        f"rank 0: {other}",
        f"rank 0: predict: all processes have to call it, and 2 processes did not: rank 1 evaluate, "
        f"rank 2 evaluate; {do}",
        f"rank 1: evaluate: all processes have to call it, and 1 process did not: rank 0 predict; {do}",
        "rank 1: photo 7: the file ends early",
        f"rank 2: evaluate: all processes have to call it, and 1 process did not: rank 0 predict; {do}",
        f"rank 2: {other}",
    ]
    assert sorted(done.out.splitlines()) == sorted(expected)
