"""Which examples of each batch a process computes.

A batch of N examples is divided into V virtual shards, shard i of the rows i*N//V .. (i+1)*N//V - 1, whatever the
number of processes; each process has some consecutive shards. So what a shard computes does not depend on who does it.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WHOLE", "Part"]


class Part(NamedTuple):
    """The virtual shards of one process.

    Args:
        shards: V, of a batch, >= 1.
        first, stop: those computed here, 0 <= first < stop <= V.
    """

    shards: int = 1
    first: int = 0
    stop: int = 1

    @classmethod
    def of(cls, shards: int, rank: int, size: int) -> Part:
        """Return the part of one of at most V processes: as many shards as another has, or one more or fewer."""
        return cls(shards, rank * shards // size, (rank + 1) * shards // size)

    def rows(self, n: int) -> tuple[int, int]:
        """Return the first row of a batch of N that is computed here, and the one after the last; they may be equal."""
        return self.first * n // self.shards, self.stop * n // self.shards


WHOLE = Part()
