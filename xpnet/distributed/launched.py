"""How this process was started: alone, or by a launcher of MPI; and the communicator that belongs to that."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from typing import NamedTuple

from xpnet.arguments import choice
from xpnet.backend import Backend, get_backend
from xpnet.distributed.communicator import Communicator, single
from xpnet.distributed.faults import install
from xpnet.distributed.mpi import MPI, mpi
from xpnet.distributed.nccl import nccl
from xpnet.errors import ConfigError, DeviceError

__all__ = ["SHARDS", "Launched", "get_communicator", "launched"]

SHARDS = 8  # virtual shards of a training that a launcher started, unless others are asked for

_log = logging.getLogger("xpnet")


class Launched(NamedTuple):
    """What a launcher says of this process.

    Args:
        launcher: its name.
        rank: the number of this process.
        size: how many it has started; None: it does not say.
        local_rank: the number of this process among those on this machine; None: it does not say.
        local_size: how many it has started on this machine; None: it does not say.
    """

    launcher: str
    rank: int
    size: int | None
    local_rank: int | None
    local_size: int | None = None


# The variables of rank, size, local rank and local size. Slurm sets SLURM_PROCID and SLURM_NTASKS also in the shells of
# sbatch and salloc, which are one process; SLURM_STEP_NUM_TASKS is the number that one srun has started.
_VARIABLES = {
    "Open MPI": [f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")],
    "MVAPICH": [f"MV2_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")],
    "mpiexec": ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
    "PMIx": ["PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""],
    "srun": ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""],
}


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return what started this process, by environment variables, or None: no launcher of several processes did.

    ``mpiexec -n 1`` counts as a launcher, ``srun -n 1`` without MPI does not: shells are started so.
    """

    def number(variable: str) -> int | None:
        text = environment.get(variable, "")
        return int(text) if text.isdecimal() else None

    for launcher, variables in _VARIABLES.items():
        rank, size, local_rank, local_size = map(number, variables)
        if rank is None or (launcher == "srun" and (size or 1) < 2):
            continue
        return Launched(launcher, rank, size or None, local_rank, local_size)
    return None


def get_communicator(kind: str = "auto", backend: str | Backend | None = None) -> Communicator:
    """Return the communicator of this run. All its processes call this; from then on the failure of one ends all.

        communicator = get_communicator()
        communicator.rank, communicator.size

    Args:
        kind: "single": this process alone; "mpi": the processes of MPI; "nccl": the same, whose GPUs exchange arrays
            themselves; "auto": "single", unless a launcher of MPI has started this process.
        backend: of the arrays, as get_backend takes it; "auto" is "nccl" rather than "mpi" where it has NCCL.
    Raises:
        ConfigError: a launcher has started this process, but mpi4py is missing, or its MPI is another than the
            launcher's: then each process would train alone. "nccl" without NCCL.
    """
    choice("get_communicator", "kind", kind, ("auto", "single", "mpi", "nccl"))
    start = launched()
    if kind == "single" or (kind == "auto" and start is None):
        return single()
    if start and importlib.util.find_spec("mpi4py") is None:
        if start.size == 1 and kind == "auto":
            return single()
        what = f"{start.launcher} started this process, but mpi4py is not installed"
        raise ConfigError.event("get_communicator", what, "pip install 'xpnet[mpi]'", **_described(start))
    found = mpi()
    if start and found.size != start.size and (start.size or start.rank):
        what = f"{start.launcher} does not belong to the MPI of mpi4py, so that each process would be alone"
        do = f"start it with the mpiexec of {_vendor(found)}, or with xpnet launch"
        raise ConfigError.event("get_communicator", what, do, **_described(start), processes_of_mpi4py=found.size)
    install(found)
    if kind == "nccl":
        return nccl(backend or "cuda")
    return found if kind == "mpi" or backend is None else _fastest(found, get_backend(backend))


def _fastest(host: Communicator, backend: Backend) -> Communicator:
    """Return NCCL where every process's backend has it, else MPI."""
    try:
        usable = backend.collectives() is not None
    except DeviceError as error:
        usable = False
        _log.warning("arrays are exchanged through the host: %s", error)
    return nccl(backend) if all(data == b"1" for data in host.allgather_bytes(b"1" if usable else b"0")) else host


def _described(start: Launched) -> dict[str, object]:
    return {"rank": start.rank, "processes": start.size or "unknown"}


def _vendor(communicator: Communicator) -> str:
    return communicator.vendor if isinstance(communicator, MPI) else communicator.name
