"""The processes of a run, and what they do together. One process by default; the engines are MPI and NCCL."""

from xpnet.distributed.communicator import Communicator, single
from xpnet.distributed.faults import aborting, install
from xpnet.distributed.gathering import merge_nodes
from xpnet.distributed.launched import Launched, get_communicator, launched
from xpnet.distributed.mpi import mpi
from xpnet.distributed.reduction import PlainReduction, Reduced, Reduction, TreeReduction
from xpnet.distributed.tree import Node, Tree

__all__ = [
    "Communicator",
    "Launched",
    "Node",
    "PlainReduction",
    "Reduced",
    "Reduction",
    "Tree",
    "TreeReduction",
    "aborting",
    "get_communicator",
    "install",
    "launched",
    "merge_nodes",
    "mpi",
    "single",
]
