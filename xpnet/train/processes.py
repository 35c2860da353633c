"""Who computes what of a batch: the processes of a training, and its virtual shards.

A batch of N examples is divided into V virtual shards, whatever the number of processes. Each shard is computed by
itself, and shards are summed along one tree, so a run gives the same bits on any number of processes and threads.
Without virtual shards, each process computes its rows of a batch at once, which is faster; a run then equals one on
another number of processes to rounding.

A feed of a training gives the rows of ``part`` of each batch; its ``size(step)`` is N, of the whole batch.
"""

from __future__ import annotations

from typing import NamedTuple

from xpnet import arguments, distributed
from xpnet.backend import Backend
from xpnet.data.part import WHOLE, Part
from xpnet.distributed import Communicator, single
from xpnet.distributed.launched import SHARDS
from xpnet.errors import ConfigError
from xpnet.output import counted

__all__ = ["ALONE", "BATCH_NORM", "Processes", "read_processes"]

BATCH_NORM = ("sync", "local")


class Processes(NamedTuple):
    """The processes of a training.

    Args:
        communicator: of the processes, of which this is one.
        shards: V, the virtual shards of a batch; None or 1: none.
        batch_norm: "sync": normalize by the statistics of the whole batch. "local": of each virtual shard, or without
            virtual shards of each process.
    """

    communicator: Communicator
    shards: int | None = None
    batch_norm: str = "sync"

    @property
    def virtual(self) -> bool:
        """Whether batches are divided into virtual shards."""
        return (self.shards or 1) > 1

    def lines(self, *, normalizes: bool = True) -> list[str]:
        """Say in a line how batches are divided; where they are not, nothing.

        Args:
            normalizes: whether the model has layers that normalize over the batch.
        """
        size, norm = self.communicator.size, "whole batch" if self.batch_norm == "sync" else "shard"
        if not self.virtual and size == 1:
            return []
        if not self.virtual and self.batch_norm == "local":
            norm = "part of each process"
        shards = f"{self.shards} virtual shards" if self.virtual else "no virtual shards"
        found = f"{counted(size, 'process')}, {shards}"
        return [f"{found}, batch normalization over the {norm}" if normalizes else found]

    @property
    def part(self) -> Part:
        """The part of each batch that this process computes."""
        size = self.communicator.size
        if not self.virtual:
            return WHOLE if size == 1 else Part.of(size, self.communicator.rank, size)
        return Part.of(self.shards or 1, self.communicator.rank, size)


ALONE = Processes(single())


def read_processes(
    where: str,
    communicator: Communicator | str | None,
    shards: int | None,
    batch_norm: str,
    backend: Backend | None = None,
) -> Processes:
    """Check the arguments of a Trainer or Step that concern several processes; if launched, one that fails ends all.

    Args:
        where: for messages.
        communicator: a Communicator, or what distributed.get_communicator takes, such as "mpi". None: "auto".
        shards: V, >= 1; None: SHARDS where a launcher started this process, also if it is the only one; else none.
        batch_norm: as in Processes.
        backend: of the model.
    Raises:
        ConfigError: one is invalid, or there are more processes than virtual shards.
    """
    found = communicator
    if not isinstance(found, Communicator):
        name = arguments.text(where, "communicator", "auto" if found is None else found)
        found = distributed.get_communicator(name, backend)
    shards = arguments.optional(arguments.count)(where, "shards", shards)
    batch_norm = arguments.choice(where, "batch_norm", batch_norm, BATCH_NORM)
    if shards is None and found is not single():
        shards = SHARDS
    processes = Processes(found, shards, batch_norm)
    if processes.virtual and found.size > (shards or 1):
        do = "ask for more shards, or shards=1 for none"
        raise ConfigError(where, "at most as many processes as shards", do, shards=shards, processes=found.size)
    if distributed.launched() is not None:
        distributed.install(found)
    return processes
