"""How long the processes of a worker take to sum a gradient, by each way, and to add as much memory: one process alone.

{"do": "measure", "numbers": of float32, "shards": V, "seconds": of turns in all} -> {way: [ms of each turn]}
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import ranks

from xpnet.distributed.mpi import mpi
from xpnet.distributed.reduction import PlainReduction, TreeReduction

SHORT = 0.075  # seconds of a turn


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Let the ways take turns."""
    communicator, (flat, other) = mpi(), np.ones((2, request["numbers"]), np.float32)
    flat[:] = other[:] = 0  # sums stay finite, and no page is the system's shared one of zeros
    tree, plain = TreeReduction(communicator, request["shards"]), PlainReduction(communicator)
    ways: dict[str, Callable[[], Any]] = {"tree": lambda: tree(flat, [flat]), "allreduce": lambda: plain(flat, [flat])}
    ways["bound"] = lambda: np.add(flat, other, out=flat) if communicator.rank == 0 else None

    def turn(way: Callable[[], Any], calls: int) -> float:
        """Milliseconds of a call."""
        communicator.barrier()
        start = perf_counter()
        for _ in range(calls):
            way()
        return ranks.agree((perf_counter() - start) * 1e3 / calls)

    counts = {name: max(1, int(SHORT * 1e3 / (turn(way, 1) and turn(way, 3)))) for name, way in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    begun = perf_counter()
    while ranks.agree(perf_counter() - begun) < request["seconds"] or len(found["bound"]) < 3:
        for name, way in ways.items():
            found[name].append(turn(way, counts[name]))
    return found
