"""How a process was started, from the variables that launchers set; and what is wrong with the start."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributed.conftest import Start

from xpnet.distributed import Launched, get_communicator, launched, single
from xpnet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_PROCID",
             "SLURM_STEP_NUM_TASKS", "MV2_COMM_WORLD_RANK")  # fmt: skip


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process that no launcher started."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


STARTS: dict[str, tuple[dict[str, str], Launched | None]] = {
    "plain": ({}, None),
    "hydra": ({"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0"}, Launched("mpiexec", 2, 4, 0)),
    "hydra-local-size": (
        {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"},
        Launched("mpiexec", 5, 8, 1, 4),
    ),
    "one-process": ({"PMI_RANK": "0", "PMI_SIZE": "1"}, Launched("mpiexec", 0, 1, None)),
    "openmpi": (
        {
            "OMPI_COMM_WORLD_RANK": "1",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "PMIX_RANK": "1",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        },
        Launched("Open MPI", 1, 2, 1, 2),
    ),
    "pmix": ({"PMIX_RANK": "3"}, Launched("PMIx", 3, None, None)),
    "slurm-pmix": (
        {"PMIX_RANK": "3", "SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"},
        Launched("PMIx", 3, 4, 1),
    ),
    "srun": (
        {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"},
        Launched("srun", 5, 8, 1),
    ),
    "sbatch-script": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "SLURM_LOCALID": "0"}, None),
    "salloc-shell": ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2"}, None),
    "srun-shell": (
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "4294967290"},
        None,
    ),
    "mpiexec-in-slurm": (
        {"PMI_RANK": "1", "PMI_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2"},
        Launched("mpiexec", 1, 2, None),
    ),
    "nonsense": ({"PMI_RANK": "first", "PMI_SIZE": ""}, None),
}


@pytest.mark.parametrize("start", list(STARTS))
def test_launchers_are_known_by_their_variables(start: str) -> None:
    environment, expected = STARTS[start]
    assert launched(environment) == expected


def test_a_process_that_nothing_launched_is_alone(plain: pytest.MonkeyPatch) -> None:
    assert get_communicator() is single()
    plain.setenv("PMI_RANK", "0")
    plain.setenv("PMI_SIZE", "2")
    assert get_communicator("single") is single()


def without_mpi4py(name: str, *rest: object) -> object:
    return None if name == "mpi4py" else importlib.machinery.PathFinder.find_spec(name)


def test_launched_processes_without_mpi4py_do_not_train_alone(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(importlib.util, "find_spec", without_mpi4py)
    plain.setenv("PMI_RANK", "1")
    plain.setenv("PMI_SIZE", "4")
    for kind in ("auto", "mpi", "nccl"):
        with pytest.raises(ConfigError) as error:
            get_communicator(kind)
        assert str(error.value) == (
            "get_communicator: mpiexec started this process, but mpi4py is not installed: "
            "rank 1, processes 4; pip install 'xpnet[mpi]'"
        )
    plain.setenv("PMI_RANK", "0")
    plain.setenv("PMI_SIZE", "1")
    assert get_communicator() is single()


@pytest.mark.parametrize("kind", ["mpich", "", None])
def test_an_unknown_kind_is_an_error(kind: object) -> None:
    with pytest.raises(ConfigError, match=r"get_communicator: expected a known kind, got kind"):
        get_communicator(kind)  # type: ignore[arg-type]


def test_a_launcher_of_another_mpi_is_named(start: Start) -> None:
    if "XPNET_MPIEXEC" in os.environ:
        pytest.skip("the MPI of mpi4py is not known to be MPICH")
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PYTHONPATH": str(ROOT)}
    program = "from xpnet.distributed import get_communicator; get_communicator()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "Open MPI does not belong to the MPI of mpi4py, so that each process would be alone: rank 1" in line
    assert "processes 4, processes_of_mpi4py 1; start it with the mpiexec of MPICH " in line


WORLD = """
import sys, threading
before = sys.excepthook, threading.excepthook
import numpy as np
import xpnet.distributed
assert "mpi4py" not in sys.modules, "importing xpnet starts MPI"
from xpnet.distributed import get_communicator, launched
communicator, start = get_communicator(), launched()
assert communicator is get_communicator("mpi")
assert (communicator.name, communicator.size) == ("mpi", int(sys.argv[1]))
assert (start.rank, start.size) == (communicator.rank, communicator.size)
changed = [now is not then for now, then in zip((sys.excepthook, threading.excepthook), before)]
assert changed == [communicator.size > 1] * 2, "the failure of one process ends all, where there are several"

from mpi4py import MPI
assert MPI.Query_thread() >= MPI.THREAD_SERIALIZED
rank, size = communicator.rank, communicator.size
everyone = range(size)
assert communicator.allgather_bytes(b"r%d" % rank * rank) == [b"r%d" % r * r for r in everyone]
for dtype in ("float16", "float32", "float64"):
    x = np.full((2, 3), rank + 1, dtype)
    assert communicator.allreduce(x) is x
    assert (x == sum(r + 1 for r in everyone)).all() and x.dtype == dtype
for dtype in ("float32", "int64", "bool", "uint8"):
    x = np.full((3,), rank % 2, dtype)
    assert communicator.broadcast(x, size - 1) is x
    assert (x == (size - 1) % 2).all()
    found = communicator.allgather(np.full((rank, 2), rank, dtype))
    assert [a.shape for a in found] == [(r, 2) for r in everyone]
    assert all((a == np.asarray(r, dtype)).all() and a.dtype == dtype for r, a in enumerate(found))
for wrong in (np.ones((4, 4))[:, ::2], np.ones(3, int)):
    try:
        communicator.allreduce(wrong)
    except (ValueError, TypeError) as error:
        assert str(error).startswith(("mpi: expected a contiguous", "allreduce: expected an array, real floating"))
    else:
        raise AssertionError(wrong)
out = [[np.full(2, 10 * rank + r, np.float16), np.arange(r + 1)] if r != rank else [] for r in everyone]
into = [[np.empty(2, np.float16), np.empty(rank + 1, int)] if r != rank else [] for r in everyone]
communicator.exchange(out, into)
for r in everyone:
    if r != rank:
        assert (into[r][0] == 10 * r + rank).all() and into[r][1].tolist() == list(range(rank + 1))
counts = [3 * r for r in everyone]
line = np.full(sum(counts), -1.0)
line[sum(counts[:rank]) : sum(counts[: rank + 1])] = rank
communicator.allgather_segments(line, counts)
assert line.tolist() == [float(r) for r in everyone for _ in range(counts[r])]
communicator.barrier()

from xpnet.backend import get_backend
for spec in sys.argv[2:]:
    backend = get_backend(spec)
    x = backend.from_numpy(np.full(3, rank, np.float32))
    total = backend.to_numpy(communicator.allreduce(x))
    assert (total == sum(everyone)).all(), (spec, total)
    y = backend.from_numpy(np.full(3, rank, np.int32))
    assert (backend.to_numpy(communicator.broadcast(y, size - 1)) == size - 1).all()
    parts = communicator.allgather(backend.from_numpy(np.full((rank + 1, 2), rank, np.float32)))
    assert [tuple(backend.to_numpy(a).shape) for a in parts] == [(r + 1, 2) for r in everyone]
    assert type(parts[0]) is type(x)
sys.stdout.write(f"rank {rank} of {size}\\n")
"""


@pytest.mark.parametrize("size", [1, 2])
def test_processes_of_mpiexec_find_each_other_and_exchange_arrays(start: Start, size: int) -> None:
    others = [name for name in ("torch", "jax") if size > 1 and importlib.util.find_spec(name)]
    done = start(size, WORLD, str(size), *others)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == [f"rank {rank} of {size}" for rank in range(size)]
